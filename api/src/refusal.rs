//! What the API answers when it does not do what was asked.

use serde::{Deserialize, Serialize};

/// The kind of a refusal; each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// A value is malformed or out of range.
    InvalidValue,
    /// The request as such cannot be understood: not JSON, an unknown field, a query that does not parse.
    MalformedRequest,
    /// Nobody is logged in.
    NotAuthenticated,
    /// Whoever asks may not do this.
    NotAuthorized,
    /// No such resource.
    NotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// The name is taken.
    NameExists,
    /// Something uses the resource.
    InUse,
    /// The resource cannot be changed, only copied.
    ReadOnly,
    /// Something is being done with the resource.
    Busy,
    /// It would lose data: the impact says what, and how to go on.
    ConfirmationRequired,
    /// The resource is not any more what the client had read.
    Stale,
    /// Too many requests of this kind.
    TooMany,
    /// The request's body is larger than the limit.
    TooLarge,
    /// The uploaded image is damaged, truncated or of a kind that is refused.
    BadImage,
    /// The uploaded artifact bundle is damaged, or is not one.
    BadBundle,
    /// A plan script failed.
    ScriptFailed,
    /// A program that the daemon needs is not installed.
    MissingTool,
    /// The store's file system is full.
    NoSpace,
    /// Stored data does not match its checksum.
    Corrupt,
    /// The work took longer than its limit.
    TimedOut,
    /// The daemon is stopping.
    Stopping,
    /// A fault of the daemon or of the machine under it.
    Internal,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The HTTP status that goes with the kind.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidValue | Self::MalformedRequest => 400,
            Self::NotAuthenticated => 401,
            Self::NotAuthorized => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NameExists | Self::InUse | Self::ReadOnly | Self::Busy | Self::ConfirmationRequired => 409,
            Self::Stale => 412,
            Self::TooLarge => 413,
            Self::BadImage | Self::BadBundle | Self::ScriptFailed => 422,
            Self::TooMany => 429,
            Self::Internal | Self::Corrupt | Self::Unknown => 500,
            Self::MissingTool => 501,
            Self::Stopping => 503,
            Self::TimedOut => 504,
            Self::NoSpace => 507,
        }
    }
}

/// A refusal: what was wrong, where, and what to do. The field names are Image Streamer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Refusal {
    /// The kind, for programs.
    pub error_code: Code,
    /// One sentence, for people.
    pub message: Box<str>,
    /// More of it: where, the cause below.
    #[serde(default)]
    pub details: Option<String>,
    /// What to do.
    #[serde(default)]
    pub recommended_actions: Vec<String>,
    /// The field or resource that is at fault.
    #[serde(default)]
    pub error_source: Option<Box<str>>,
    /// Refusals below this one.
    #[serde(default)]
    pub nested_errors: Vec<Refusal>,
    /// What would be lost, and how to say proceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Box<crate::Impact>>,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(error_code: Code, message: impl Into<Box<str>>) -> Self {
        Self {
            error_code,
            message: message.into(),
            details: None,
            recommended_actions: Vec::new(),
            error_source: None,
            nested_errors: Vec::new(),
            impact: None,
        }
    }

    /// Adds the cause below, or where it is.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Adds something to do.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.recommended_actions.push(action.into());
        self
    }

    /// Adds what would be lost.
    #[must_use]
    pub fn impact(mut self, impact: crate::Impact) -> Self {
        self.impact = Some(Box::new(impact));
        self
    }

    /// Names the field or resource at fault.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<str>>) -> Self {
        self.error_source = Some(source.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_image_streamers_field_names() {
        let refusal =
            Refusal::new(Code::InUse, "used").details("by web01").action("remove web01").source("id");
        let json = serde_json::to_value(&refusal).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"errorCode": "IN_USE", "message": "used", "details": "by web01",
                "recommendedActions": ["remove web01"], "errorSource": "id", "nestedErrors": []})
        );
        assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), refusal);
    }

    #[test]
    fn a_newer_code_is_read_as_unknown() {
        let refusal: Refusal =
            serde_json::from_str(r#"{"errorCode":"FROM_TOMORROW","message":"m"}"#).unwrap();
        assert_eq!(refusal.error_code, Code::Unknown);
    }
}
