//! Custom attributes as plan scripts write them: `@Name@`, `@Name:default@`, `@NIC1.ipaddress@`.
//!
//! What stands behind the colon is a default, not a type. Names that begin with `_` are the system's own
//! (`@_Initiator1.mac@`), and nobody gives them a value.

/// Longest name of an attribute.
pub const NAME_BYTES_MAX: usize = 128;

/// A placeholder in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placeholder<'a> {
    /// Where it begins in the line, in bytes, at its first `@`.
    pub at: usize,
    /// Where what follows it begins.
    pub end: usize,
    /// Its name, without a member.
    pub name: &'a str,
    /// The member that it asks for: `ipaddress` of `@NIC1.ipaddress@`.
    pub member: Option<&'a str>,
    /// What it becomes when nobody gives the attribute a value.
    pub default: Option<&'a str>,
}

impl Placeholder<'_> {
    /// The name as it is written, with its member.
    #[must_use]
    pub fn full_name(&self) -> String {
        match self.member {
            Some(member) => format!("{}.{member}", self.name),
            None => self.name.to_owned(),
        }
    }
}

/// The placeholders of a line, from left to right.
pub fn of_line(line: &str) -> impl Iterator<Item = Placeholder<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(found) = line.get(from..).and_then(|rest| rest.find('@')) {
            let at = from + found;
            if let Some(placeholder) = placeholder(line, at) {
                from = placeholder.end;
                return Some(placeholder);
            }
            from = at + 1;
        }
        None
    })
}

/// The placeholder whose first `@` is at `at`.
fn placeholder(line: &str, at: usize) -> Option<Placeholder<'_>> {
    let text = line.get(at + 1..)?;
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let (full, rest) = text.split_at(text.find(|c: char| !in_name(c))?);
    let (name, member) = match full.split_once('.') {
        Some((name, member)) => (name, Some(member)),
        None => (full, None),
    };
    let is_member = |member: &str| member.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_name(name) || !member.is_none_or(is_member) {
        return None;
    }
    let (default, rest) = match rest.strip_prefix('@') {
        Some(rest) => (None, rest),
        None => {
            let (default, rest) = rest.strip_prefix(':')?.split_once('@')?;
            (Some(default), rest)
        }
    };
    Some(Placeholder { at, end: line.len() - rest.len(), name, member, default })
}

/// Whether a text can be the name of an attribute.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    begins && rest && text.len() <= NAME_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<(String, Option<&str>)> {
        of_line(line).map(|one| (one.full_name(), one.default)).collect()
    }

    #[test]
    fn names_members_and_defaults_are_found() {
        let line = "echo \"@Greeting:Hello World!@ @Name@\" @NIC1.ipaddress@";
        let all = [
            ("Greeting".into(), Some("Hello World!")),
            ("Name".into(), None),
            ("NIC1.ipaddress".into(), None),
        ];
        assert_eq!(found(line), all);
        let first = of_line(line).next().unwrap();
        assert_eq!(&line[first.at..first.end], "@Greeting:Hello World!@");
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for line in [
            "mail root@example.com now",
            "getty@tty1.service getty@tty2.service",
            "@@",
            "@a b@",
            "@x:",
            "@é@",
        ] {
            assert_eq!(found(line), [], "{line:?}");
        }
    }

    #[test]
    fn one_that_follows_a_lonely_sign_is_found() {
        assert_eq!(found("a@b c @Name@ d@"), [("Name".to_owned(), None)]);
    }
}
