//! Login sessions, as OneView's clients open them.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// What `POST /rest/login-sessions` takes. Clients send more, which says nothing to us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// Name of the user.
    #[serde(alias = "username")]
    pub user_name: String,
    /// The password.
    pub password: Secret,
    /// There is one directory of users only, `LOCAL`; the field is read over.
    #[serde(default)]
    pub auth_login_domain: Option<String>,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LoginSession {
    /// To be sent as the header `auth` with every request.
    #[serde(rename = "sessionID")]
    pub session_id: Secret,
}
