//! A small GET from Google's side: bounded in time, in size and in number.

use crate::telemetry::metrics::RequestOutcome;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use url::{Host, Url};

/// Why a fetch gave nothing. Names no address and quotes no body, so it may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    #[error("out of reach, or too slow")]
    Unreachable,
    #[error("the server is busy")]
    Busy,
    #[error("the server refuses")]
    Refused,
    #[error("the answer is too large or makes no sense")]
    Malformed,
}

impl From<FetchError> for RequestOutcome {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Unreachable => Self::NotSent,
            FetchError::Busy => Self::Busy,
            FetchError::Refused => Self::Denied,
            FetchError::Malformed => Self::BadData,
        }
    }
}

/// An HTTP client that follows no redirect and gives up on a whole request after `deadline`.
pub(super) fn client(deadline: Duration) -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .timeout(deadline)
        .connect_timeout(deadline)
}

/// Sends `request` and reads its answer, which has at most `limit_bytes`.
pub(super) async fn get(
    request: RequestBuilder,
    limit_bytes: usize,
) -> Result<(HeaderMap, Vec<u8>), FetchError> {
    let mut response = request.send().await.map_err(|_| FetchError::Unreachable)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            return Err(FetchError::Busy);
        }
        status if status.is_server_error() => return Err(FetchError::Unreachable),
        _ => return Err(FetchError::Refused),
    }
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|_| FetchError::Unreachable)?
    {
        if body.len() + chunk.len() > limit_bytes {
            return Err(FetchError::Malformed);
        }
        body.extend_from_slice(&chunk);
    }
    Ok((std::mem::take(response.headers_mut()), body))
}

/// Whether an address can only mean this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// Secrets and keys travel encrypted, or do not leave this machine.
pub(super) fn is_private(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(url),
        _ => false,
    }
}

/// At most one fetch at a time. Each runs in a task of its own, so that a caller who
/// leaves takes nothing away from those who wait.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Its sender is dropped when the fetch is over.
    running: Mutex<Option<watch::Receiver<()>>>,
}

/// Resolves when the fetch is over, whatever came of it.
#[derive(Debug)]
pub(super) struct Landing(watch::Receiver<()>);

impl Landing {
    pub(super) async fn wait(mut self) {
        // Nothing is ever sent: the channel only closes.
        while self.0.changed().await.is_ok() {}
    }
}

impl Flight {
    /// Joins the fetch under way, else starts the one that `start` gives.
    ///
    /// `start` runs under the lock: what it checks and notes is one step with the take-off.
    pub(super) fn join<F>(&self, start: impl FnOnce() -> Option<F>) -> Option<Landing>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = locked(&self.running);
        if let Some(landing) = running.as_ref().filter(|done| done.has_changed().is_ok()) {
            return Some(Landing(landing.clone()));
        }
        let fetch = start()?;
        let (over, landing) = watch::channel(());
        tokio::spawn(async move {
            fetch.await;
            drop(over);
        });
        *running = Some(landing.clone());
        Some(Landing(landing))
    }
}

/// A panic elsewhere does not make plain data unusable.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
