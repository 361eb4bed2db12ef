//! A stand-in for the sign-in service: unsigned ID tokens for anybody who asks, in the shapes of
//! the Firebase Auth emulator where both know the request.

#[cfg(test)]
mod tests;

use super::demo_token::{LIFETIME_S, SignIn, mint, valid_uid};
use super::listen::{self, ConnectionCount};
use crate::clock::Clock;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const MAX_BODY_BYTES: usize = 64 * 1024;
/// As many characters as the ids that Firebase itself gives.
const UID_CHARS: usize = 28;
/// Claims that a custom token may not set
/// (firebase.google.com/docs/auth/admin/custom-claims#propagate).
const RESERVED_CLAIMS: [&str; 15] = [
    "acr",
    "amr",
    "at_hash",
    "aud",
    "auth_time",
    "azp",
    "cnf",
    "c_hash",
    "exp",
    "iat",
    "iss",
    "jti",
    "nbf",
    "nonce",
    "firebase",
];

/// Gives tokens for one demo project. It remembers nothing: a refresh token says who signed in.
#[derive(Clone, Debug)]
pub struct AccountsStandIn {
    project: Arc<str>,
    clock: Clock,
}

/// What the Auth emulator calls an error: a status and a code in capitals.
struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.0.as_u16();
        let body =
            json!({ "error": { "code": code, "message": self.1, "status": "INVALID_ARGUMENT" } });
        (self.0, Json(body)).into_response()
    }
}

fn bad(code: &'static str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, code)
}

/// A refresh token is what it says, in base64: nothing here is secret.
#[derive(Serialize, Deserialize)]
struct Refresh {
    uid: String,
    anonymous: bool,
    claims: Map<String, Value>,
    auth_time: u64,
}

impl AccountsStandIn {
    pub fn new(project: &str, clock: Clock) -> Self {
        Self {
            project: project.into(),
            clock,
        }
    }

    /// An ID token for `uid` that lives for an hour from now; none if a uid cannot look so.
    pub fn id_token(&self, uid: &str) -> Option<String> {
        let sign_in = self.sign_in(uid, "custom", Map::new());
        valid_uid(uid).then(|| mint(&self.project, &sign_in, self.clock.unix()))
    }

    fn sign_in(&self, uid: &str, provider: &'static str, claims: Map<String, Value>) -> SignIn {
        SignIn {
            uid: uid.to_owned(),
            provider,
            claims,
            auth_time: self.clock.unix().0 / 1000,
        }
    }

    /// The tokens of a fresh sign-in, as `accounts:*` answers them.
    fn tokens(&self, sign_in: SignIn) -> Json<Value> {
        let id_token = mint(&self.project, &sign_in, self.clock.unix());
        Json(json!({
            "idToken": id_token,
            "localId": sign_in.uid.clone(),
            "refreshToken": refresh_token(sign_in),
            "expiresIn": LIFETIME_S.to_string(),
            "isNewUser": true,
        }))
    }
}

fn refresh_token(sign_in: SignIn) -> String {
    let anonymous = sign_in.provider == "anonymous";
    let refresh = json!(Refresh {
        uid: sign_in.uid,
        anonymous,
        claims: sign_in.claims,
        auth_time: sign_in.auth_time,
    });
    URL_SAFE_NO_PAD.encode(refresh.to_string())
}

fn router(accounts: AccountsStandIn) -> Router {
    Router::new()
        .route("/", get(ready))
        .route("/token", get(token))
        .route(
            "/identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken",
            post(sign_in_with_custom_token),
        )
        .route(
            "/identitytoolkit.googleapis.com/v1/accounts:signUp",
            post(sign_up),
        )
        .route("/securetoken.googleapis.com/v1/token", post(refresh))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(accounts)
}

/// The emulator's answer, and a word that this is not it.
async fn ready() -> Json<Value> {
    Json(json!({
        "authEmulator": {
            "ready": true,
            "standIn": "presence-bridge dev",
            "docs": "GET /token?uid=alice gives an unsigned ID token of the demo project",
        }
    }))
}

#[derive(Deserialize)]
struct Who {
    uid: String,
}

async fn token(
    State(accounts): State<AccountsStandIn>,
    Query(who): Query<Who>,
) -> Result<Json<Value>, Refusal> {
    let id_token = accounts.id_token(&who.uid).ok_or(bad("INVALID_UID"))?;
    Ok(Json(json!({ "idToken": id_token })))
}

#[derive(Deserialize)]
struct CustomToken {
    uid: String,
    #[serde(default)]
    claims: Map<String, Value>,
}

async fn sign_in_with_custom_token(
    State(accounts): State<AccountsStandIn>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let body: Value = serde_json::from_slice(&body).map_err(|_| bad("INVALID_JSON"))?;
    let token = body.get("token").and_then(Value::as_str);
    let token = token.ok_or(bad("MISSING_CUSTOM_TOKEN"))?;
    let token = custom_token(token).ok_or(bad("INVALID_CUSTOM_TOKEN"))?;
    if !valid_uid(&token.uid) {
        return Err(bad("INVALID_CUSTOM_TOKEN"));
    }
    if RESERVED_CLAIMS
        .iter()
        .any(|name| token.claims.contains_key(*name))
    {
        return Err(bad("FORBIDDEN_CLAIM"));
    }
    let sign_in = accounts.sign_in(&token.uid, "custom", token.claims);
    Ok(accounts.tokens(sign_in))
}

/// Plain JSON, or the claims of a JWT; who signed it does not matter here.
fn custom_token(text: &str) -> Option<CustomToken> {
    if let Ok(token) = serde_json::from_str(text) {
        return Some(token);
    }
    let claims = text.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// A new anonymous user; passwords are for the emulator.
async fn sign_up(
    State(accounts): State<AccountsStandIn>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let body: Value = serde_json::from_slice(&body).map_err(|_| bad("INVALID_JSON"))?;
    if body.get("email").is_some() || body.get("password").is_some() {
        return Err(bad("OPERATION_NOT_ALLOWED"));
    }
    let mut random = rand::rng();
    let uid: String = (0..UID_CHARS)
        .map(|_| char::from(random.sample(rand::distr::Alphanumeric)))
        .collect();
    let sign_in = accounts.sign_in(&uid, "anonymous", Map::new());
    Ok(accounts.tokens(sign_in))
}

async fn refresh(
    State(accounts): State<AccountsStandIn>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let form: Vec<_> = match serde_json::from_slice::<Map<String, Value>>(&body) {
        Ok(fields) => fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
            .collect(),
        Err(_) => url::form_urlencoded::parse(&body).into_owned().collect(),
    };
    let field = |names: [&str; 2]| {
        let hit = form.iter().find(|(name, _)| names.contains(&name.as_str()));
        hit.map(|(_, value)| value.as_str())
    };
    if field(["grant_type", "grantType"]) != Some("refresh_token") {
        return Err(bad("INVALID_GRANT_TYPE"));
    }
    let token = field(["refresh_token", "refreshToken"]).ok_or(bad("MISSING_REFRESH_TOKEN"))?;
    let refresh: Option<Refresh> = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok());
    let refresh = refresh.filter(|refresh| valid_uid(&refresh.uid));
    let refresh = refresh.ok_or(bad("INVALID_REFRESH_TOKEN"))?;
    let sign_in = SignIn {
        uid: refresh.uid,
        provider: if refresh.anonymous {
            "anonymous"
        } else {
            "custom"
        },
        claims: refresh.claims,
        auth_time: refresh.auth_time,
    };
    let id_token = mint(&accounts.project, &sign_in, accounts.clock.unix());
    Ok(Json(json!({
        "id_token": id_token,
        "access_token": id_token,
        "expires_in": LIFETIME_S.to_string(),
        "token_type": "Bearer",
        "user_id": sign_in.uid.clone(),
        "project_id": &*accounts.project,
        "refresh_token": refresh_token(sign_in),
    })))
}

/// Serves the token endpoint until `shutdown`. Refuses a listener that is not on loopback.
pub async fn serve(
    listener: TcpListener,
    accounts: AccountsStandIn,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let count = Arc::new(ConnectionCount::default());
    listen::serve(listener, router(accounts), count, shutdown).await
}
