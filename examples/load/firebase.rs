//! What the bridge needs around it: a key server, a token endpoint, a database that swallows everything,
//! a service account file and ID tokens; all on loopback, all made at start.

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use presence_bridge::clock::Clock;
use serde_json::json;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use tokio::net::TcpListener;

const PROJECT: &str = "load-test";
const KEY_ID: &str = "load";

/// The loopback world of one run; its files go with it.
pub(crate) struct Surroundings {
    pub(crate) directory: PathBuf,
    addr: SocketAddr,
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).ok();
    }
}

impl Surroundings {
    /// Serves on this runtime for as long as it lives.
    pub(crate) async fn start(key: &SigningKey) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let directory =
            std::env::temp_dir().join(format!("presence-bridge-load-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let around = Self { directory, addr };
        let account = json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": KEY_ID,
            "private_key": key.pem,
            "client_email": "load@load-test.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": format!("http://{addr}/token"),
        });
        fs::write(around.account_file(), account.to_string())?;
        let keys = key.public_set.clone();
        let routes = Router::new()
            .route("/keys", get(|| async move { key_set(&keys) }))
            .route("/token", post(access_token))
            .fallback(sink);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(around)
    }

    fn account_file(&self) -> PathBuf {
        self.directory.join("service-account.json")
    }

    /// The environment of a bridge that serves on `addr`.
    pub(crate) fn bridge_settings(
        &self,
        addr: SocketAddr,
        admin: SocketAddr,
    ) -> Vec<(&'static str, String)> {
        let here = self.addr;
        vec![
            ("HOST", addr.ip().to_string()),
            ("PORT", addr.port().to_string()),
            ("ADMIN_LISTEN", admin.to_string()),
            ("FIREBASE_PROJECT_ID", PROJECT.to_owned()),
            ("FIREBASE_DATABASE_URL", format!("http://{here}/")),
            (
                "GOOGLE_APPLICATION_CREDENTIALS",
                self.account_file().display().to_string(),
            ),
            ("AUTH_KEYS_URL", format!("http://{here}/keys")),
            ("LIMIT_EVENTS_PER_SECOND", "10000".to_owned()),
            ("LIMIT_CONNECTIONS_PER_USER", "10".to_owned()),
            ("RUST_LOG", "warn".to_owned()),
        ]
    }
}

fn key_set(keys: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (
            header::CACHE_CONTROL,
            "public, max-age=19302, must-revalidate, no-transform",
        ),
    ];
    (headers, keys.to_owned()).into_response()
}

async fn access_token() -> Response {
    axum::Json(json!({ "access_token": "load", "token_type": "Bearer", "expires_in": 3600 }))
        .into_response()
}

/// A database that takes every write and holds nothing.
async fn sink(request: Request) -> Response {
    let silent = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("print=silent"));
    let heartbeat = request.method() == Method::PUT && !silent;
    // Read to the end, so that the connection can be used again.
    axum::body::to_bytes(request.into_body(), 16 * 1024 * 1024)
        .await
        .ok();
    if heartbeat {
        let now = Clock::system().unix().0;
        return axum::Json(json!({ "heartbeat": now, "intervalMs": 10_000 })).into_response();
    }
    if silent {
        return StatusCode::NO_CONTENT.into_response();
    }
    ([(header::CONTENT_TYPE, "application/json")], "null").into_response()
}

/// The key pair of this run.
pub(crate) struct SigningKey {
    pem: String,
    public_set: String,
}

impl SigningKey {
    pub(crate) fn generate() -> Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no RSA key"))?;
        let der = pair.as_der().map_err(|_| anyhow!("no PKCS#8 form"))?;
        let body = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .flat_map(std::str::from_utf8)
            .collect();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        );
        let public = pair.public_key();
        let encode = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
        let public_set = json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": encode(public.modulus().big_endian_without_leading_zero()),
            "e": encode(public.exponent().big_endian_without_leading_zero()),
        }] });
        Ok(Self {
            pem,
            public_set: public_set.to_string(),
        })
    }

    /// One token for each of `count` users, signed on all cores.
    pub(crate) fn sign(&self, count: usize) -> Result<Vec<Rc<str>>> {
        let key = EncodingKey::from_rsa_pem(self.pem.as_bytes())?;
        let users: Vec<usize> = (0..count).collect();
        let cores = std::thread::available_parallelism()?.get();
        let share = count.div_ceil(cores).max(1);
        let signed = std::thread::scope(|scope| -> Result<Vec<String>> {
            let parts: Vec<_> = users
                .chunks(share)
                .map(|users| scope.spawn(|| users.iter().map(|user| token(&key, *user)).collect()))
                .collect();
            let mut tokens = Vec::with_capacity(count);
            for part in parts {
                let part: Result<Vec<String>> =
                    part.join().map_err(|_| anyhow!("a signer panicked"))?;
                tokens.extend(part?);
            }
            Ok(tokens)
        })?;
        Ok(signed.into_iter().map(Rc::from).collect())
    }
}

/// A token shaped like Firebase's, for a user that signed in a minute ago.
fn token(key: &EncodingKey, user: usize) -> Result<String> {
    let now = Clock::system().unix().0 / 1000;
    let id = format!("loaduser{user:020}");
    let email = format!("user{user}@example.com");
    let claims = json!({
        "name": format!("Load User {user}"),
        "picture": "https://example.com/photos/a-picture-of-somebody/s96-c/photo.jpg",
        "iss": format!("https://securetoken.google.com/{PROJECT}"),
        "aud": PROJECT,
        "auth_time": now - 60,
        "user_id": id,
        "sub": id,
        "iat": now - 5,
        "exp": now - 5 + 3600,
        "email": email,
        "email_verified": true,
        "firebase": {
            "identities": { "google.com": ["110000000000000000001"], "email": [email] },
            "sign_in_provider": "google.com",
        },
    });
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(KEY_ID.to_owned());
    jsonwebtoken::encode(&header, &claims, key).context("signing a token")
}
