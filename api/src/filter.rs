//! Filters of collections, in the forms that OneView's and Image Streamer's clients send.
//!
//! ```text
//!   "name='web01'"   name='web01'   status=OK   'name'='web01'   name matches 'web%'   "name like 'web%' AND status<>'OK'"
//! ```

use crate::ListError;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term<'a> {
    /// The field that it is about.
    pub(crate) field: &'a str,
    wanted: Wanted<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted<'a> {
    Same(&'a str),
    Other(&'a str),
    /// `%` stands for any text.
    Like(&'a str),
}

/// Makes what is wanted of a value.
type Make = fn(&str) -> Wanted<'_>;

/// What stands between a field and its value. The longer come first.
const OPERATORS: [(&str, Make); 10] = [
    (" matches ", |value| Wanted::Like(value)),
    (" like ", |value| Wanted::Like(value)),
    (" eq ", |value| Wanted::Same(value)),
    (" ne ", |value| Wanted::Other(value)),
    ("==", |value| Wanted::Same(value)),
    ("!=", |value| Wanted::Other(value)),
    ("<>", |value| Wanted::Other(value)),
    ("=", |value| Wanted::Same(value)),
    (" is not ", |value| Wanted::Other(value)),
    (" is ", |value| Wanted::Same(value)),
];

impl Term<'_> {
    /// Whether a member with this value of the field is meant. Case does not count, as in OneView.
    pub(crate) fn holds(&self, value: Option<&str>) -> bool {
        match (self.wanted, value) {
            (Wanted::Same(wanted), Some(value)) => value.eq_ignore_ascii_case(wanted),
            (Wanted::Other(wanted), Some(value)) => !value.eq_ignore_ascii_case(wanted),
            (Wanted::Like(wanted), Some(value)) => like(&value.to_lowercase(), &wanted.to_lowercase()),
            (Wanted::Other(_), None) => true,
            (Wanted::Same(_) | Wanted::Like(_), None) => false,
        }
    }
}

/// The conditions of one `filter=`, all of which must hold.
pub(crate) fn parse(filter: &str) -> Result<Vec<Term<'_>>, ListError> {
    let bare = unquoted(filter.trim(), '"');
    terms(bare)
        .into_iter()
        .map(|text| term(text).ok_or_else(|| ListError::Filter(filter.to_owned())))
        .collect()
}

/// Cut at each AND that is not inside quotes.
fn terms(text: &str) -> Vec<&str> {
    const AND: &str = " and ";
    let lower = text.to_ascii_lowercase();
    let (mut found, mut from) = (Vec::new(), 0);
    for (at, _) in lower.match_indices(AND) {
        let quotes = text.get(from..at).map_or(0, |before| before.matches('\'').count());
        if at >= from && quotes % 2 == 0 {
            found.extend(text.get(from..at));
            from = at + AND.len();
        }
    }
    found.extend(text.get(from..));
    found
}

fn term(text: &str) -> Option<Term<'_>> {
    // ASCII only is made lower, so that places are the same in both.
    let lower = text.to_ascii_lowercase();
    let first = OPERATORS.iter().filter_map(|(operator, make)| Some((lower.find(operator)?, operator, make)));
    // The leftmost counts; of two at one place the longer, which comes first in the table.
    let (at, operator, make) = first.min_by_key(|(at, operator, _)| (*at, usize::MAX - operator.len()))?;
    let field = unquoted(text.get(..at)?.trim(), '\'');
    let value = unquoted(text.get(at + operator.len()..)?.trim(), '\'');
    (!field.is_empty()).then(|| Term { field, wanted: make(value) })
}

/// Without the quotes around it, if it has both.
fn unquoted(text: &str, quote: char) -> &str {
    text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)).unwrap_or(text)
}

/// Whether a text is as a pattern says, in which `%` stands for any text. No step back: linear in both.
fn like(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('%') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('%').unwrap_or(("", rest));
    for part in middle.split('%') {
        match text.find(part) {
            Some(at) => text = text.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(filter: &str, value: &str) -> bool {
        parse(filter).unwrap().iter().all(|term| term.field == "name" && term.holds(Some(value)))
    }

    #[test]
    fn every_form_means_the_same() {
        for filter in [
            "\"name='c'\"",
            "name='c'",
            "name=c",
            "name matches 'c'",
            "\"'name'='c'\"",
            "name == 'C'",
            "name EQ 'c'",
            " name = c ",
            "name like 'c'",
        ] {
            assert!(holds(filter, "c"), "{filter}");
            assert!(!holds(filter, "cc"), "{filter}");
        }
    }

    #[test]
    fn values_may_have_whatever_operators_are_made_of() {
        assert!(holds("name='a=b'", "a=b"));
        assert!(holds("name='it's'", "it's"));
        assert!(holds("name='salt and pepper'", "salt and pepper"));
        assert!(holds("name='x != y'", "x != y"));
        assert!(holds("name=''", ""));
        assert!(holds("name='\"'", "\""));
    }

    #[test]
    fn several_conditions_and_negations() {
        let filter = "name like 'a%' AND name <> 'ab'";
        assert!(holds(filter, "ac") && !holds(filter, "ab") && !holds(filter, "bc"));
        assert!(parse("name != 'x'").unwrap()[0].holds(None));
        assert!(!parse("name = 'x'").unwrap()[0].holds(None));
    }

    #[test]
    fn a_percent_sign_stands_for_any_text() {
        for (pattern, text, same) in [
            ("a%", "abc", true),
            ("%c", "abc", true),
            ("%b%", "abc", true),
            ("a%c", "abc", true),
            ("%", "", true),
            ("a%b%c", "aXbYc", true),
            ("a%b%c", "acb", false),
            ("ab%ba", "aba", false),
            ("a", "ab", false),
        ] {
            assert_eq!(like(text, pattern), same, "{text} like {pattern}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for filter in ["nonsense", "='x'", "", "name='a' AND nonsense"] {
            assert!(parse(filter).is_err(), "{filter}");
        }
    }
}
