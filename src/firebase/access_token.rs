//! Access tokens (OAuth 2) with which the bridge writes to the Realtime Database.
//!
//! Two sources: a service account's key file, for which `gcp_auth` does the exchange, and the
//! metadata server of Google Cloud, which we ask ourselves because `gcp_auth` does not pass scopes
//! on there. Around either stands what `gcp_auth` lacks: one fetch at a time, a deadline, a refresh
//! before the token ends, a pause after failures, and a way to be rid of a refused token.

use super::bearer::{TokenError, TokenSource};
use super::fetch::{FetchError, Flight, Landing, client, get, locked};
use super::json::Object;
use crate::clock::Clock;
use crate::services::ports::BoxFuture;
use crate::telemetry::metrics::{Metrics, RequestOutcome};
use gcp_auth::{CustomServiceAccount, TokenProvider};
use reqwest::{Client, Url};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

/// What the database wants to see in a token; `cloud-platform` alone does not do.
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/firebase.database",
    "https://www.googleapis.com/auth/userinfo.email",
];
/// Where the metadata server is unless `GCE_METADATA_HOST` says otherwise.
pub const METADATA_HOST: &str = "metadata.google.internal";

const MAX_BODY_BYTES: usize = 64 * 1024;
/// For one exchange with its up to five attempts inside `gcp_auth`.
const KEY_FILE_DEADLINE: Duration = Duration::from_secs(10);
const METADATA_DEADLINE: Duration = Duration::from_secs(5);
/// A token is fetched anew this long before its end, or after four fifths of a short life.
const REFRESH_AHEAD: Duration = Duration::from_mins(5);
/// A token that ends within this time may end on the way to the database.
const END_MARGIN: Duration = Duration::from_secs(10);
const MAX_LIFE: Duration = Duration::from_hours(24);
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Shorter than the database's back-off, so that all is well again ten seconds after the endpoint is.
const MAX_FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// Why there can be no access tokens from the metadata server.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("the metadata server's address is not a host, or a host and a port")]
    BadMetadataHost,
    #[error("cannot build an HTTP client")]
    Client,
}

/// Keeps a token of one source at hand.
#[derive(Clone)]
pub struct AccessTokens(Arc<Inner>);

struct Inner {
    source: Source,
    flight: Flight,
    progress: Mutex<Progress>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

enum Source {
    KeyFile(Arc<str>),
    Metadata { client: Client, url: Url },
}

#[derive(Default)]
struct Progress {
    held: Option<Held>,
    failures: u32,
    /// No fetch starts before.
    retry_at: Option<Instant>,
    refused_at: Option<Instant>,
}

struct Held {
    token: String,
    refresh_at: Instant,
    ends_at: Instant,
}

/// A token as it came.
struct Fetched {
    token: String,
    life: Duration,
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.0.source.name();
        f.debug_struct("AccessTokens")
            .field("source", &source)
            .finish_non_exhaustive()
    }
}

impl TokenSource for AccessTokens {
    fn token(&self) -> BoxFuture<'_, Result<String, TokenError>> {
        Box::pin(async move {
            if let Some(token) = self.held() {
                // The present token serves while the next one is fetched behind the caller's back.
                self.fetch();
                return Ok(token);
            }
            if let Some(landing) = self.fetch() {
                landing.wait().await;
            }
            self.held().ok_or(TokenError)
        })
    }

    /// The next call of [`TokenSource::token`] fetches. Refusals that follow each other faster
    /// than a second wait, so that a database which refuses everything causes no storm of fetches.
    fn invalidate(&self, rejected: &str) {
        let now = self.0.clock.instant();
        let mut progress = locked(&self.0.progress);
        if progress
            .held
            .as_ref()
            .is_some_and(|held| held.token == rejected)
        {
            progress.held = None;
            let earliest = progress.refused_at.map(|at| at + FAILURE_PAUSE);
            progress.retry_at = progress.retry_at.max(earliest);
            progress.refused_at = Some(now);
        }
    }
}

impl AccessTokens {
    /// `json` is the text of a key file that was checked when the settings were read. Secret.
    pub fn from_key_file(json: Arc<str>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self::new(Source::KeyFile(json), clock, metrics)
    }

    /// `host` is that of the metadata server, with a port if it has an unusual one.
    pub fn from_metadata_server(
        host: &str,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, CredentialError> {
        let source = Source::Metadata {
            // The server is a neighbor that no proxy can reach.
            client: client(METADATA_DEADLINE)
                .no_proxy()
                .build()
                .map_err(|_| CredentialError::Client)?,
            url: metadata_url(host).ok_or(CredentialError::BadMetadataHost)?,
        };
        Ok(Self::new(source, clock, metrics))
    }

    fn new(source: Source, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            source,
            flight: Flight::default(),
            progress: Mutex::default(),
            clock,
            metrics,
        }))
    }

    fn held(&self) -> Option<String> {
        let now = self.0.clock.instant();
        let progress = locked(&self.0.progress);
        let held = progress.held.as_ref().filter(|held| now < held.ends_at)?;
        Some(held.token.clone())
    }

    /// Joins or starts a fetch; `None` where none is due, or none may start yet.
    fn fetch(&self) -> Option<Landing> {
        if !locked(&self.0.progress).is_due(self.0.clock.instant()) {
            return None;
        }
        self.0.flight.join(|| {
            // Asked again under the lock: another caller's fetch may just have landed.
            let due = locked(&self.0.progress).is_due(self.0.clock.instant());
            due.then(|| Arc::clone(&self.0).refresh())
        })
    }
}

impl Progress {
    fn is_due(&self, now: Instant) -> bool {
        let wanted = self.held.as_ref().is_none_or(|held| now >= held.refresh_at);
        wanted && self.retry_at.is_none_or(|at| now >= at)
    }

    fn succeeded(&mut self, fetched: Fetched, now: Instant) {
        let life = fetched.life.min(MAX_LIFE);
        self.held = Some(Held {
            token: fetched.token,
            refresh_at: now + life.saturating_sub(REFRESH_AHEAD.min(life / 5)),
            ends_at: now + life.saturating_sub(END_MARGIN.min(life / 10)),
        });
        self.failures = 0;
        self.retry_at = None;
    }

    fn failed(&mut self, now: Instant) {
        let pause = FAILURE_PAUSE * (1 << self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + pause.min(MAX_FAILURE_PAUSE));
    }
}

impl Inner {
    async fn refresh(self: Arc<Self>) {
        let fetched = self.source.fetch(&self.clock).await;
        let now = self.clock.instant();
        let outcome = match fetched {
            Ok(fetched) => {
                locked(&self.progress).succeeded(fetched, now);
                RequestOutcome::Ok
            }
            Err(error) => {
                locked(&self.progress).failed(now);
                let source = self.source.name();
                tracing::warn!(%error, source, "cannot fetch an access token");
                error.into()
            }
        };
        self.metrics
            .access_token_fetches
            .get_or_create(&outcome.into())
            .inc();
    }
}

impl Source {
    fn name(&self) -> &'static str {
        match self {
            Self::KeyFile(_) => "key file",
            Self::Metadata { .. } => "metadata server",
        }
    }

    async fn fetch(&self, clock: &Clock) -> Result<Fetched, FetchError> {
        let fetched = match self {
            Self::KeyFile(json) => exchange(Arc::clone(json), clock).await?,
            Self::Metadata { client, url } => ask_metadata(client, url).await?,
        };
        // It goes into a header.
        let fits = !fetched.token.is_empty() && fetched.token.bytes().all(|b| b.is_ascii_graphic());
        if fits && !fetched.life.is_zero() {
            Ok(fetched)
        } else {
            Err(FetchError::Malformed)
        }
    }
}

/// Trades a signed assertion for a token. The account is built anew each time: `gcp_auth` keeps a
/// token until 20 s before its end and cannot be told to drop it.
async fn exchange(json: Arc<str>, clock: &Clock) -> Result<Fetched, FetchError> {
    // Building it reads the machine's root certificates from disk.
    let account = tokio::task::spawn_blocking(move || CustomServiceAccount::from_json(&json))
        .await
        .map_err(|_| FetchError::Unreachable)?
        .map_err(|_| FetchError::Unreachable)?;
    // gcp_auth logs the body of a refusal.
    let exchange = account.token(&SCOPES).with_subscriber(NoSubscriber::new());
    let token = tokio::time::timeout(KEY_FILE_DEADLINE, exchange)
        .await
        .map_err(|_| FetchError::Unreachable)?
        .map_err(|error| match error {
            gcp_auth::Error::Json(..) => FetchError::Malformed,
            gcp_auth::Error::Str(_) => FetchError::Refused,
            gcp_auth::Error::Http(..)
            | gcp_auth::Error::Io(..)
            | gcp_auth::Error::Other(..)
            | gcp_auth::Error::NoAuthMethod(..) => FetchError::Unreachable,
        })?;
    let end = u64::try_from(token.expires_at().timestamp_millis()).unwrap_or(0);
    Ok(Fetched {
        token: token.as_str().to_owned(),
        life: Duration::from_millis(end.saturating_sub(clock.unix().0)),
    })
}

async fn ask_metadata(client: &Client, url: &Url) -> Result<Fetched, FetchError> {
    let request = client.get(url.clone()).header("Metadata-Flavor", "Google");
    let (_, body) = get(request, MAX_BODY_BYTES).await?;
    let answer = Object::parse(&body).map_err(|_| FetchError::Malformed)?;
    match (answer.text("access_token"), answer.get("expires_in")) {
        (Ok(Some(token)), Ok(Some(seconds))) => Ok(Fetched {
            token: token.into_owned(),
            life: Duration::from_secs(seconds),
        }),
        _ => Err(FetchError::Malformed),
    }
}

fn metadata_url(host: &str) -> Option<Url> {
    if host.is_empty() || host.contains(['/', '?', '#', '@', '\\']) {
        return None;
    }
    let path = "computeMetadata/v1/instance/service-accounts/default/token";
    let mut url = Url::parse(&format!("http://{host}/{path}")).ok()?;
    url.query_pairs_mut()
        .append_pair("scopes", &SCOPES.join(","));
    Some(url)
}

#[cfg(test)]
mod tests;
