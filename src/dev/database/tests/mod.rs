//! The stand-in over a real listener, and its parts as values.

mod access;
mod faults;
mod query;
mod rest;
mod rules;
mod stream;
mod tree;

use super::DatabaseStandIn;
use crate::clock::Clock;
use crate::dev::accounts::AccountsStandIn;
use crate::domain::time::UnixMillis;
use axum::http::Method;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
/// For what must happen, on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(20);

/// A stand-in with its clock standing at [`NOW`], and a client for it.
struct Site {
    address: SocketAddr,
    standin: DatabaseStandIn,
    accounts: AccountsStandIn,
    clock: Clock,
    client: reqwest::Client,
    _running: DropGuard,
}

impl Site {
    async fn open() -> Self {
        Self::with_rules(super::DEFAULT_RULES).await
    }

    async fn with_rules(rules: &str) -> Self {
        let clock = Clock::manual(NOW);
        let standin = DatabaseStandIn::new("demo-test", rules, clock.clone()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = super::serve(listener, standin.clone(), shutdown.clone());
        tokio::spawn(async move { serving.await.unwrap() });
        Self {
            address,
            standin,
            accounts: AccountsStandIn::new("demo-test", clock.clone()),
            clock,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            _running: shutdown.drop_guard(),
        }
    }

    fn anybody(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.address))
            .timeout(SOON)
    }

    fn owner(&self, method: Method, path: &str) -> RequestBuilder {
        self.anybody(method, path).bearer_auth("owner")
    }

    /// Signed in as `uid`.
    fn user(&self, uid: &str, method: Method, path: &str) -> RequestBuilder {
        let token = self.accounts.id_token(uid).unwrap();
        self.anybody(method, path).query(&[("auth", token)])
    }
}

/// Status and body; a body that is not JSON is null.
async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Status and the text of the error.
async fn refusal(request: RequestBuilder) -> (u16, String) {
    let (status, body) = answer(request).await;
    let error = body.get("error").and_then(Value::as_str).unwrap_or("");
    (status.as_u16(), error.to_owned())
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap()
}
