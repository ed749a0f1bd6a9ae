//! Names of artifacts. They are for people: `HPE - Developer 1.0 - UEFI Test Image (2017-03-24)` is one.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest name of an artifact in bytes.
pub const TITLE_BYTES_MAX: usize = 255;

/// A checked name of an artifact: any text on one line that is no path and cannot be mistaken for an id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("minLength" = 1, "maxLength" = 255))]
pub struct Title(String);

/// Why a text is no name of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// Nothing, or blanks.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than the limit.
    #[error("the name is {0} bytes long; at most {TITLE_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A character that no name may have.
    #[error("the name {name:?} has the character {character:?}, which no name may have")]
    BadCharacter {
        /// The name as given.
        name: String,
        /// Its first character that is not allowed.
        character: char,
    },
    /// `.` and `..` are directories where names become those of files.
    #[error("the name {0:?} cannot be one of a file")]
    Dots(String),
    /// A command line would take it for an option.
    #[error("the name {0:?} begins with '-', as options of a command do")]
    Dash(String),
    /// Could be mistaken for an id.
    #[error("the name {0:?} looks like an id")]
    LooksLikeId(String),
}

impl Title {
    /// Checks a text. Blanks around it do not count.
    pub fn parse(text: &str) -> Result<Self, TitleError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TitleError::Empty);
        }
        if text.len() > TITLE_BYTES_MAX {
            return Err(TitleError::TooLong(text.len()));
        }
        if let Some(character) = text.chars().find(|c| c.is_control() || matches!(c, '/' | '\\')) {
            return Err(TitleError::BadCharacter { name: text.to_owned(), character });
        }
        if matches!(text, "." | "..") {
            return Err(TitleError::Dots(text.to_owned()));
        }
        if text.starts_with('-') {
            return Err(TitleError::Dash(text.to_owned()));
        }
        if looks_like_id(text) {
            return Err(TitleError::LooksLikeId(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// 32 hexadecimal digits, with or without the dashes of a UUID.
fn looks_like_id(text: &str) -> bool {
    let digits = text.bytes().filter(|byte| byte.is_ascii_hexdigit()).count();
    digits == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Title {
    type Err = TitleError;
    fn from_str(text: &str) -> Result<Self, TitleError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Title {
    type Error = TitleError;
    fn try_from(text: String) -> Result<Self, TitleError> {
        Self::parse(&text)
    }
}

impl From<Title> for String {
    fn from(title: Title) -> Self {
        title.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_a_name() {
        for name in ["a", "HPE - Developer 1.0 - UEFI (2017-03-24)", "Größe [1]", "x".repeat(255).as_str()]
        {
            assert_eq!(Title::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(Title::parse("  web ").unwrap().as_str(), "web");
    }

    #[test]
    fn what_is_no_name_says_why() {
        assert_eq!(Title::parse(" "), Err(TitleError::Empty));
        assert_eq!(Title::parse("-a"), Err(TitleError::Dash("-a".into())));
        assert_eq!(Title::parse(&"x".repeat(256)), Err(TitleError::TooLong(256)));
        for (name, character) in [("a/b", '/'), ("a\\b", '\\'), ("a\nb", '\n'), ("a\0b", '\0')] {
            assert_eq!(Title::parse(name), Err(TitleError::BadCharacter { name: name.into(), character }));
        }
        assert_eq!(Title::parse(".."), Err(TitleError::Dots("..".into())));
        for id in ["0123456789abcdef0123456789ABCDEF", "f244c12d-a830-4432-92b6-6e1d5d46abca"] {
            assert_eq!(Title::parse(id), Err(TitleError::LooksLikeId(id.into())));
        }
    }
}
