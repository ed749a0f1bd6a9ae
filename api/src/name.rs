//! Names of golden images and OS volumes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest name in bytes. It leaves room for a prefix and a suffix in an iSCSI name of 223 bytes (RFC 7143 §4.2.7.1).
pub const NAME_BYTES_MAX: usize = 64;

/// A name that has been checked: 1 to 64 of `A-Z a-z 0-9 . _ -`, the first a letter or a digit, and not an id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name must not be empty")]
    Empty,
    /// More than 64 bytes.
    #[error("the name is {0} bytes long; at most {NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Starts with a dot, a dash or an underscore.
    #[error("the name {0:?} must start with a letter or a digit")]
    BadStart(String),
    /// Has a character that no name may have.
    #[error(
        "the name {name:?} has the character {character:?}; a name is made of letters, digits, '.', '_' and '-'"
    )]
    BadCharacter {
        /// The name as given.
        name: String,
        /// Its first character that is not allowed.
        character: char,
    },
    /// Could be mistaken for an id.
    #[error("the name {0:?} looks like an id (32 hexadecimal digits)")]
    LooksLikeId(String),
}

impl Name {
    /// Checks a text.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        if let Some(character) = text.chars().find(|c| !is_allowed(*c)) {
            return Err(NameError::BadCharacter { name: text.to_owned(), character });
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(NameError::BadStart(text.to_owned()));
        }
        if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NameError::LooksLikeId(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Names are unique without regard to case, because clients of this API compare them so.
    #[must_use]
    pub fn is_same(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }
}

impl schemars::JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Letters, digits, '.', '_' and '-', the first a letter or a digit; no 32 hexadecimal digits",
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
            "minLength": 1,
            "maxLength": NAME_BYTES_MAX
        })
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// The candidate that a mistyped text most likely meant, if one is close enough to be worth telling.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&text, &candidate.to_ascii_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(text.len()) / 4)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_fine() {
        for name in ["a", "0", "debian-12", "Web_01.prod", &"x".repeat(64)] {
            assert_eq!(Name::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_are_not() {
        assert_eq!(Name::parse(""), Err(NameError::Empty));
        assert_eq!(Name::parse(&"x".repeat(65)), Err(NameError::TooLong(65)));
        assert_eq!(Name::parse(".hidden"), Err(NameError::BadStart(".hidden".into())));
        for (name, character) in [("a/b", '/'), ("a b", ' '), ("naïve", 'ï'), ("a\nb", '\n'), ("../x", '/')]
        {
            assert_eq!(
                Name::parse(name),
                Err(NameError::BadCharacter { name: name.into(), character }),
                "{name:?}"
            );
        }
        let id = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(Name::parse(id), Err(NameError::LooksLikeId(id.into())));
    }

    #[test]
    fn nearest_finds_a_slip_and_not_a_stranger() {
        let names = ["debian-12", "windows", "fedora"];
        assert_eq!(nearest("debain-12", names), Some("debian-12"));
        assert_eq!(nearest("Debian-12", names), Some("debian-12"));
        assert_eq!(nearest("arch", names), None);
        assert_eq!(nearest("x", []), None);
    }
}
