//! The text format (RFC 7143 §6.1): `key=value` pairs, each ended by a zero byte.

use crate::limits::{TEXT_KEY_BYTES_MAX, TEXT_KEYS_MAX, TEXT_VALUE_BYTES_MAX};
use thiserror::Error;

/// The pairs of one text, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

/// A text that is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TextError {
    /// Not UTF-8.
    #[error("text is not UTF-8")]
    Encoding,
    /// No equals sign.
    #[error("a pair has no equals sign")]
    NoValue,
    /// Empty, longer than 63 bytes, or with characters that no key has.
    #[error("a key is malformed")]
    Key,
    /// Longer than we take.
    #[error("a value is too long")]
    Value,
    /// More than we take.
    #[error("there are too many keys")]
    TooMany,
}

impl Pairs {
    /// Reads a whole text, its C-bit continuations joined. A missing zero byte at the very end is forgiven.
    ///
    /// # Errors
    /// When it is malformed or over a limit.
    pub fn parse(text: &[u8]) -> Result<Self, TextError> {
        let text = std::str::from_utf8(text).map_err(|_| TextError::Encoding)?;
        let mut pairs = Vec::new();
        for pair in text.split('\0').filter(|pair| !pair.is_empty()) {
            if pairs.len() == TEXT_KEYS_MAX {
                return Err(TextError::TooMany);
            }
            let (key, value) = pair.split_once('=').ok_or(TextError::NoValue)?;
            check(key, value)?;
            pairs.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self(pairs))
    }

    /// The value of a key: the first, should there be several.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Key names are case-sensitive; letters, digits and a few signs, 63 bytes at most (§6.1 "standard-label").
fn check(key: &str, value: &str) -> Result<(), TextError> {
    let is_key_character = |c: u8| c.is_ascii_alphanumeric() || b".-+@_#".contains(&c);
    if key.is_empty() || key.len() > TEXT_KEY_BYTES_MAX || !key.bytes().all(is_key_character) {
        return Err(TextError::Key);
    }
    if value.len() > TEXT_VALUE_BYTES_MAX {
        return Err(TextError::Value);
    }
    Ok(())
}

/// Appends a pair to a text.
pub fn append_pair(text: &mut Vec<u8>, key: &str, value: &str) {
    text.extend_from_slice(key.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    text.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_in_order_with_empty_values_and_equals_signs_inside() {
        let pairs = Pairs::parse(b"A=1\0B=\0C=x=y\0").unwrap();
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("A", "1"), ("B", ""), ("C", "x=y")]);
        assert_eq!(pairs.value("B"), Some(""));
        assert_eq!(pairs.value("a"), None);
    }

    #[test]
    fn a_key_of_63_bytes_passes_and_of_64_does_not() {
        assert!(Pairs::parse(format!("{}=1\0", "k".repeat(63)).as_bytes()).is_ok());
        assert_eq!(Pairs::parse(format!("{}=1\0", "k".repeat(64)).as_bytes()), Err(TextError::Key));
    }

    #[test]
    fn malformed_texts() {
        assert_eq!(Pairs::parse(b"A\0"), Err(TextError::NoValue));
        assert_eq!(Pairs::parse(b"=1\0"), Err(TextError::Key));
        assert_eq!(Pairs::parse(b"A=\xff\0"), Err(TextError::Encoding));
        assert_eq!(Pairs::parse(&b"A=1\0".repeat(TEXT_KEYS_MAX + 1)), Err(TextError::TooMany));
        let long = format!("A={}\0", "v".repeat(TEXT_VALUE_BYTES_MAX + 1));
        assert_eq!(Pairs::parse(long.as_bytes()), Err(TextError::Value));
    }

    #[test]
    fn what_is_appended_is_read_back() {
        let mut text = Vec::new();
        append_pair(&mut text, "TargetName", "iqn.x:y");
        append_pair(&mut text, "TargetAlias", "");
        assert_eq!(text, b"TargetName=iqn.x:y\0TargetAlias=\0");
        assert_eq!(Pairs::parse(&text).unwrap().value("TargetName"), Some("iqn.x:y"));
    }
}
