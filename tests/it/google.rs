//! Google's small endpoints over real HTTP: public keys for ID tokens, access tokens for the database.

use crate::mint;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use presence_bridge::dev::database::DatabaseStandIn;
use serde_json::json;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// How long the keys are young: the shortest that the bridge believes.
pub(crate) const KEYS_YOUNG_S: u64 = 300;

/// Hands out the first key of [`mint::keys`], and access tokens that the database takes from then on.
pub(crate) struct Google {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    database: DatabaseStandIn,
    has_keys: AtomicBool,
    has_tokens: AtomicBool,
    keys_asked: AtomicUsize,
    issued: AtomicUsize,
}

impl Google {
    pub(crate) async fn open(database: &DatabaseStandIn) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            database: database.clone(),
            has_keys: AtomicBool::new(true),
            has_tokens: AtomicBool::new(true),
            keys_asked: AtomicUsize::new(0),
            issued: AtomicUsize::new(0),
        });
        let (keys, tokens) = (Arc::clone(&state), Arc::clone(&state));
        let router = Router::new()
            .route("/keys", get(async move || keys.keys()))
            .route("/token", post(async move || tokens.issue()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    /// From now on the keys can be had, or not.
    pub(crate) fn has_keys(&self, has: bool) {
        self.state.has_keys.store(has, Ordering::SeqCst);
    }

    /// From now on access tokens can be had, or not.
    pub(crate) fn has_tokens(&self, has: bool) {
        self.state.has_tokens.store(has, Ordering::SeqCst);
    }

    pub(crate) fn keys_url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    pub(crate) fn keys_asked(&self) -> usize {
        self.state.keys_asked.load(Ordering::SeqCst)
    }

    /// How many access tokens were handed out.
    pub(crate) fn issued(&self) -> usize {
        self.state.issued.load(Ordering::SeqCst)
    }

    /// The database forgets the token handed out as the `number`th.
    pub(crate) fn revoke(&self, number: usize) {
        self.state
            .database
            .refuse_admin_token(&access_token(number));
    }

    /// A service account's key file whose tokens come from here.
    pub(crate) fn key_file(&self) -> KeyFile {
        let uri = format!("http://{}/token", self.address);
        KeyFile::write(&mint::keys()[1].key_file(&uri).to_string())
    }
}

impl State {
    fn keys(&self) -> Response {
        self.keys_asked.fetch_add(1, Ordering::SeqCst);
        if !self.has_keys.load(Ordering::SeqCst) {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let young = format!("public, max-age={KEYS_YOUNG_S}");
        let keys = mint::key_set(&[&mint::keys()[0]]);
        ([(header::CACHE_CONTROL, young)], keys.to_string()).into_response()
    }

    fn issue(&self) -> Response {
        if !self.has_tokens.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let token = access_token(self.issued.fetch_add(1, Ordering::SeqCst) + 1);
        self.database.accept_admin_token(&token);
        json!({ "access_token": token, "expires_in": 3600, "token_type": "Bearer" })
            .to_string()
            .into_response()
    }
}

/// The token handed out as the `number`th.
pub(crate) fn access_token(number: usize) -> String {
    format!("ya29.canary-{number}")
}

/// A file of the test's own, gone when dropped.
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    fn write(text: &str) -> Self {
        static WRITTEN: AtomicUsize = AtomicUsize::new(0);
        let number = WRITTEN.fetch_add(1, Ordering::SeqCst);
        let name = format!("key-{}-{number}.json", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        std::io::Write::write_all(&mut file.open(&path).unwrap(), text.as_bytes()).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap_or_default();
    }
}
