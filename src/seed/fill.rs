//! Fills values in for the placeholders of a template, so that each stays what it is in its place: escaped between
//! quotes, refused where YAML would take it for something else.

use script::Values;
use script::placeholder;

use super::yaml::{Place, Scanner};

/// What a template is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Anything: values are put in as they are.
    Text,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Language {
    /// What user-data and vendor-data are, by how they begin: as cloud-init looks at it, which minds neither case nor
    /// blanks before, nor what follows.
    #[must_use]
    pub fn of_user_data(text: &str) -> Self {
        let text = text.trim_start();
        let text = match is_jinja(text) {
            true => text.split_once('\n').map_or("", |(_, rest)| rest.trim_start()),
            false => text,
        };
        match starts_with(text, "#cloud-config") {
            true => Self::Yaml,
            false => Self::Text,
        }
    }
}

fn starts_with(text: &str, wanted: &str) -> bool {
    text.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted))
}

/// Whether cloud-init takes it for a Jinja template first.
fn is_jinja(text: &str) -> bool {
    let first = text.trim_start().strip_prefix("##");
    first.is_some_and(|rest| starts_with(rest.trim_start(), "template:"))
}

/// Line ends of YAML 1.1 (§4.2) that are no control characters.
const LINE_ENDS: [char; 2] = ['\u{2028}', '\u{2029}'];

/// Why a seed cannot be made, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Fault {
    /// The attribute at fault, as it is written, if it is one.
    pub attribute: Option<String>,
    /// The template and its line, in words.
    pub place: String,
    /// What is wrong. Never repeats a value.
    pub message: String,
}

impl Fault {
    /// One of a template, or of an attribute, as a whole.
    #[must_use]
    pub fn whole(place: &str, message: impl Into<String>) -> Self {
        Self { attribute: None, place: place.to_owned(), message: message.into() }
    }
}

/// A template with its values.
///
/// # Errors
/// The first placeholder without a value, and the first value that its place cannot hold.
pub(super) fn fill(name: &str, text: &str, language: Language, values: &Values) -> Result<String, Fault> {
    let is_jinja = is_jinja(text);
    let mut scanner = Scanner::new(language);
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        scanner.begin_line(line);
        let mut from = 0;
        for found in placeholder::of_line(line) {
            let before = &line[from..found.at];
            scanner.pass(before);
            out += before;
            from = found.end;
            let full = found.full_name();
            let fault = |message: String| Fault {
                attribute: Some(full.clone()),
                place: format!("{name}, line {}", index + 1),
                message,
            };
            let place = scanner.place(&line[from..]);
            match (values.get(&full), found.default) {
                (Some(value), _) => {
                    if is_jinja && ["{{", "{%", "{#"].iter().any(|mark| value.text.contains(mark)) {
                        return Err(fault(format!(
                            "the value of {full:?} would be a part of the Jinja template"
                        )));
                    }
                    if language == Language::Yaml && value.text.contains(LINE_ENDS) {
                        return Err(fault(format!("the value of {full:?} has a line end of Unicode")));
                    }
                    out += &place
                        .hold(&value.text)
                        .map_err(|why| fault(format!("the value of {full:?} {why}")))?;
                    scanner.passed_value();
                }
                // An author's default is a part of the template.
                (None, Some(default)) => {
                    scanner.pass(default);
                    out += default;
                }
                (None, None) if place == Place::Comment => out += &line[found.at..found.end],
                (None, None) => {
                    return Err(fault(format!("the attribute {full:?} has no value, and no default here")));
                }
            }
        }
        let rest = &line[from..];
        scanner.pass(rest);
        out += rest;
    }
    Ok(out)
}
