//! What holds for every request and answer, whatever its endpoint: the version of the API that is asked for, eTags, and
//! the shape of refusals.

use api::{Code, Refusal};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::Refused;
use super::status::VERSIONS;

/// The version of the API that a client wants.
const API_VERSION: HeaderName = HeaderName::from_static("x-api-version");
/// Longest text of a refusal that is not ours.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// Checks a request's headers, and puts its answer into the API's form.
pub(super) async fn keep(request: Request, next: Next) -> Response {
    if let Err(refusal) = check_version(request.headers()) {
        return Refused(refusal).into_response();
    }
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = request.headers().get(header::IF_NONE_MATCH).cloned().filter(|_| looks);
    let response = next.run(request).await;
    let status = response.status();
    if status == StatusCode::OK
        && let Some(known) = known
        && let Some(tag) = response.headers().get(header::ETAG)
        && matches(&known, tag)
    {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag.clone())]).into_response();
    }
    match status.is_client_error() || status.is_server_error() {
        true => in_our_words(response).await,
        false => response,
    }
}

/// Absent means the newest.
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(wanted) = headers.get(API_VERSION) else { return Ok(()) };
    let (oldest, newest) = (VERSIONS.minimum_version, VERSIONS.current_version);
    let version = wanted.to_str().ok().and_then(|text| text.trim().parse().ok());
    if version.is_some_and(|version: u32| (oldest..=newest).contains(&version)) {
        return Ok(());
    }
    let wanted = String::from_utf8_lossy(wanted.as_bytes()).chars().take(32).collect::<String>();
    let message = format!("API version {wanted:?} is not spoken here");
    Err(Refusal::new(Code::MalformedRequest, message)
        .source("X-API-Version")
        .action(format!("ask for a version from {oldest} to {newest}, or leave the header out")))
}

/// `If-None-Match` (RFC 9110 §13.1.2): tags are compared weakly, and clients also send them bare.
fn matches(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned();
    known.trim() == "*" || known.split(',').any(|known| bare(known) == bare(tag))
}

/// A refusal that the framework made: its words, in our form.
async fn in_our_words(response: Response) -> Response {
    let is_json = |value: &HeaderValue| value.as_bytes().starts_with(b"application/json");
    if response.headers().get(header::CONTENT_TYPE).is_some_and(is_json) {
        return response;
    }
    let status = response.status();
    let text = axum::body::to_bytes(response.into_body(), TEXT_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let message = match text.trim() {
        "" => "the request was refused".to_owned(),
        text => text.to_owned(),
    };
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        _ if status.is_server_error() => Code::Internal,
        _ => Code::MalformedRequest,
    };
    let mut answer = Refused(Refusal::new(code, message)).into_response();
    *answer.status_mut() = status;
    answer
}

/// The eTag header of a single resource, as its body says.
pub(super) fn e_tag_of(body: &[u8]) -> Option<HeaderValue> {
    /// Lists have tags of their own kind: none.
    const RESOURCE_BYTES_MAX: usize = 1 << 20;
    #[derive(serde::Deserialize)]
    struct Tagged<'a> {
        #[serde(rename = "eTag", borrow)]
        e_tag: Option<std::borrow::Cow<'a, str>>,
    }
    if body.len() > RESOURCE_BYTES_MAX || body.first() != Some(&b'{') {
        return None;
    }
    let tagged: Tagged<'_> = serde_json::from_slice(body).ok()?;
    HeaderValue::from_str(&format!("\"{}\"", tagged.e_tag?)).ok()
}

/// The eTag that a change is to be checked against, if the client names one.
pub(super) fn if_match(headers: &HeaderMap) -> Option<String> {
    headers.get(header::IF_MATCH)?.to_str().ok().map(str::to_owned)
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    (status, Body::empty()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &'static str) -> Result<(), Refusal> {
        check_version(&HeaderMap::from_iter([(API_VERSION, HeaderValue::from_static(text))]))
    }

    #[test]
    fn the_versions_of_the_clients_are_spoken_and_others_are_not() {
        check_version(&HeaderMap::new()).unwrap();
        for spoken in ["120", "300", "500", "800", "2020", " 1200 "] {
            version(spoken).unwrap();
        }
        for unspoken in ["119", "2021", "-1", "", "abc", "99999999999"] {
            let refusal = version(unspoken).unwrap_err();
            assert_eq!(refusal.error_source.as_deref(), Some("X-API-Version"));
            assert!(refusal.recommended_actions[0].contains("from 120 to 2020"), "{refusal:?}");
        }
    }

    #[test]
    fn a_tag_is_known_quoted_bare_weak_or_in_a_list() {
        let tag = HeaderValue::from_static("\"1441036118675/8\"");
        for known in [
            "\"1441036118675/8\"",
            "1441036118675/8",
            "W/\"1441036118675/8\"",
            "\"a\", \"1441036118675/8\"",
            "*",
        ] {
            assert!(matches(&HeaderValue::from_static(known), &tag), "{known}");
        }
        assert!(!matches(&HeaderValue::from_static("\"1441036118675/9\""), &tag));
    }

    #[test]
    fn the_tag_is_the_bodys_own() {
        assert_eq!(e_tag_of(br#"{"name":"x","eTag":"5/1"}"#).unwrap(), "\"5/1\"");
        assert_eq!(e_tag_of(br#"{"members":[{"eTag":"5/1"}]}"#), None);
        assert_eq!(e_tag_of(br#"{"eTag":null}"#), None);
        assert_eq!(e_tag_of(b"[]"), None);
        assert_eq!(e_tag_of(br#"{"eTag":"a\nb"}"#), None);
    }
}
