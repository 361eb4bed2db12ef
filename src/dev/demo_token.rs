//! Unsigned ID tokens of a demo project, in the shape the Firebase Auth emulator gives them:
//! header `{"alg":"none","typ":"JWT"}`, an empty signature, one hour of life.

use crate::domain::time::UnixMillis;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

/// How long an ID token lives, in seconds. Firebase knows no other life time.
pub(super) const LIFETIME_S: u64 = 3600;
/// Nothing longer is parsed.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const MAX_UID_CHARS: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    Unparsable,
    Expired,
}

/// Who signs in, and how.
#[derive(Clone, Debug)]
pub(super) struct SignIn {
    pub uid: String,
    /// `custom` or `anonymous`.
    pub provider: &'static str,
    /// Claims that the custom token asked for.
    pub claims: Map<String, Value>,
    /// When the user proved who they are, in Unix seconds; a refresh does not move it.
    pub auth_time: u64,
}

pub(super) fn valid_uid(uid: &str) -> bool {
    (1..=MAX_UID_CHARS).contains(&uid.chars().count())
}

pub(super) fn mint(project: &str, sign_in: &SignIn, now: UnixMillis) -> String {
    let issued = now.0 / 1000;
    let mut claims = sign_in.claims.clone();
    let own = json!({
        "auth_time": sign_in.auth_time,
        "user_id": sign_in.uid,
        "firebase": { "identities": {}, "sign_in_provider": sign_in.provider },
        "iat": issued,
        "exp": issued + LIFETIME_S,
        "aud": project,
        "iss": issuer(project),
        "sub": sign_in.uid,
    });
    if let Value::Object(own) = own {
        claims.extend(own);
    }
    if sign_in.provider == "anonymous" {
        claims.insert("provider_id".to_owned(), "anonymous".into());
    }
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "none", "typ": "JWT" }));
    format!("{header}.{}.", part(Value::Object(claims)))
}

/// The claims of an unsigned token of `project` that is valid now.
pub(super) fn verify(
    project: &str,
    token: &str,
    now: UnixMillis,
) -> Result<Map<String, Value>, TokenError> {
    let claims = parse(token).ok_or(TokenError::Unparsable)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let ours = text("aud") == Some(project)
        && text("iss") == Some(issuer(project).as_str())
        && text("sub").is_some_and(valid_uid)
        && claims.get("exp").is_some_and(Value::is_u64);
    if !ours {
        return Err(TokenError::Unparsable);
    }
    if now >= expires_at(&claims) {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

/// The `exp` of claims that [`verify`] has accepted.
pub(super) fn expires_at(claims: &Map<String, Value>) -> UnixMillis {
    let seconds = claims.get("exp").and_then(Value::as_u64).unwrap_or(0);
    UnixMillis(seconds.saturating_mul(1000))
}

fn issuer(project: &str) -> String {
    format!("https://securetoken.google.com/{project}")
}

fn parse(token: &str) -> Option<Map<String, Value>> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, ""] = parts.as_slice() else {
        return None;
    };
    let part = |text: &str| -> Option<Map<String, Value>> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    };
    (part(header)?.get("alg")? == "none").then(|| part(claims))?
}
