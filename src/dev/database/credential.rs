//! Who asks, as far as the rules care.

use super::answer::Refusal;
use super::call::Params;
use crate::dev::demo_token::{self, TokenError};
use crate::domain::time::UnixMillis;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// The bearer that the emulators take for an administrator.
const OWNER: &str = "owner";

/// As it stands in the history: what was shown, never the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A service account: no rules apply.
    Admin,
    /// A service account that asked for the rules to apply (`auth_variable_override`).
    Override,
    /// A signed-in user.
    User,
    Nobody,
    /// A credential that was not accepted.
    Bad,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Credential {
    Admin,
    /// The `auth` of the rules, as the administrator wants it.
    Override(Value),
    /// The `auth` of the rules, and the token's `exp`.
    User(Value, UnixMillis),
    Nobody,
}

impl Credential {
    pub(super) fn kind(&self) -> CredentialKind {
        match self {
            Self::Admin => CredentialKind::Admin,
            Self::Override(_) => CredentialKind::Override,
            Self::User(..) => CredentialKind::User,
            Self::Nobody => CredentialKind::Nobody,
        }
    }

    /// The `auth` of the rules; none where no rules apply.
    pub(super) fn auth(&self) -> Option<&Value> {
        match self {
            Self::Admin => None,
            Self::Override(auth) | Self::User(auth, _) => Some(auth),
            Self::Nobody => Some(&Value::Null),
        }
    }

    pub(super) fn expires_at(&self) -> Option<UnixMillis> {
        match self {
            Self::User(_, at) => Some(*at),
            Self::Admin | Self::Override(_) | Self::Nobody => None,
        }
    }
}

/// What a request is judged against.
pub(super) struct Gate<'a> {
    pub(super) project: &'a str,
    /// Access tokens that count as an administrator's, besides `owner`.
    pub(super) admin_tokens: &'a HashSet<String>,
    pub(super) now: UnixMillis,
}

impl Gate<'_> {
    pub(super) fn judge(
        &self,
        headers: &HeaderMap,
        params: &Params,
    ) -> Result<Credential, Refusal> {
        let unauthorized = || Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized request.");
        let bearer = match headers.get(header::AUTHORIZATION) {
            None => params.get("access_token"),
            Some(value) => {
                let text = value.to_str().unwrap_or("");
                Some(text.strip_prefix("Bearer ").ok_or_else(unauthorized)?)
            }
        };
        if let Some(token) = bearer {
            if token != OWNER && !self.admin_tokens.contains(token) {
                return Err(unauthorized());
            }
            return params
                .get("auth_variable_override")
                .map_or(Ok(Credential::Admin), overridden);
        }
        if params.get("auth_variable_override").is_some() {
            return Err(unauthorized());
        }
        params
            .get("auth")
            .map_or(Ok(Credential::Nobody), |token| self.user(token))
    }

    fn user(&self, token: &str) -> Result<Credential, Refusal> {
        let refused = |error| {
            let text = match error {
                TokenError::Unparsable => "Could not parse auth token.",
                TokenError::Expired => "Auth token is expired",
            };
            Refusal::new(StatusCode::UNAUTHORIZED, text)
        };
        let claims = demo_token::verify(self.project, token, self.now).map_err(refused)?;
        let expires_at = demo_token::expires_at(&claims);
        Ok(Credential::User(auth_of(&claims), expires_at))
    }
}

/// The `auth` variable of the rules for a signed-in user.
fn auth_of(claims: &Map<String, Value>) -> Value {
    let provider = claims
        .get("firebase")
        .and_then(|firebase| firebase.get("sign_in_provider"));
    json!({
        "uid": claims.get("sub"),
        "provider": provider,
        "token": claims,
    })
}

fn overridden(text: &str) -> Result<Credential, Refusal> {
    match serde_json::from_str(text) {
        Ok(auth @ (Value::Null | Value::Object(_))) => Ok(Credential::Override(auth)),
        Ok(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | Err(_) => {
            Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "auth_variable_override must be a JSON object or null",
            ))
        }
    }
}
