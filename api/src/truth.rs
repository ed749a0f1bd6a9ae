//! Truth values as Image Streamer's clients send them: `true`, or the text `"true"` in any case.
//!
//! `#[serde(default, deserialize_with = "crate::truth::flag")]` reads a `bool`, `…::maybe` an `Option<bool>`. The schema
//! of such a field is [`Flag`]'s: `#[schemars(with = "crate::truth::Flag")]`.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A truth value, or its name in any case.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    maybe(deserializer).map(Option::unwrap_or_default)
}

/// The same, or `null`, or the empty text that some clients send for it.
pub fn maybe<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Sent {
        Bool(bool),
        Text(String),
        Nothing,
    }
    match Sent::deserialize(deserializer)? {
        Sent::Bool(flag) => Ok(Some(flag)),
        Sent::Nothing => Ok(None),
        Sent::Text(text) if text.is_empty() => Ok(None),
        Sent::Text(text) => parse(&text).map(Some).map_err(D::Error::custom),
    }
}

/// The same in a query.
pub fn parse(text: &str) -> Result<bool, String> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// What the schema of a truth value is.
#[derive(Debug, Clone, Copy)]
pub struct Flag;

impl schemars::JsonSchema for Flag {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Flag".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "enum": [true, false, "true", "false", "True", "False", null] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Body {
        #[serde(default, deserialize_with = "flag")]
        sure: bool,
        #[serde(default, deserialize_with = "maybe")]
        perhaps: Option<bool>,
    }

    #[test]
    fn truth_comes_as_a_value_or_as_a_text() {
        let read = |json: &str| serde_json::from_str::<Body>(json).map(|body| (body.sure, body.perhaps));
        assert_eq!(read("{}").unwrap(), (false, None));
        assert_eq!(read(r#"{"sure":true,"perhaps":false}"#).unwrap(), (true, Some(false)));
        assert_eq!(read(r#"{"sure":"True","perhaps":"FALSE"}"#).unwrap(), (true, Some(false)));
        assert_eq!(read(r#"{"sure":null,"perhaps":""}"#).unwrap(), (false, None));
        assert!(read(r#"{"sure":"maybe"}"#).unwrap_err().to_string().contains("neither true nor false"));
        assert!(read(r#"{"sure":1}"#).is_err());
    }
}
