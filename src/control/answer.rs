//! Answers: JSON with a status.

use api::{Code, Refusal};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::conventions;

/// What every handler gives.
pub(super) type Answer = Result<Response, Refused>;

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self(
            Refusal::new(Code::MalformedRequest, "the query is not understood")
                .details(rejection.body_text()),
        )
    }
}

impl From<BytesRejection> for Refused {
    fn from(rejection: BytesRejection) -> Self {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
            _ => Code::MalformedRequest,
        };
        Self(Refusal::new(code, "the body cannot be read").details(rejection.body_text()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.error_code.http_status());
        json(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &self.0)
    }
}

/// A value as the body.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let e_tag = if status.is_success() { conventions::e_tag_of(&body) } else { None };
            let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
            if let Some(e_tag) = e_tag {
                response.headers_mut().insert(header::ETAG, e_tag);
            }
            response
        }
        Err(error) => {
            tracing::error!("an answer cannot be written as JSON: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A body as its type.
pub(super) fn parse<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refused> {
    serde_json::from_slice(&body?).map_err(|error| {
        let code = match error.classify() {
            serde_json::error::Category::Data => Code::InvalidValue,
            _ => Code::MalformedRequest,
        };
        Refused(Refusal::new(code, format!("the body is not what is expected here: {error}")))
    })
}
