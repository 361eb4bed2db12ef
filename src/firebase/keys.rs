//! Google's public keys: whose signature an ID token must bear.
//!
//! The whole set is one entry of a cache. It is young for `max-age - Age` of the answer that
//! brought it, is fetched again after three quarters of that time, and serves for a day longer
//! when Google cannot be reached: a longer rotation is better than nobody getting in.
//!
//! ```text
//!   Missing ──fetched──▶ Fresh ──75 %: fetched behind the caller's back──▶ Fresh
//!      ▲                   │ TTL over and fetches fail
//!      └──── 24 h ──── Stale (still serves)
//! ```
//!
//! A caller waits for a fetch only when there is no key to answer with. Strangers cannot make
//! the bridge fetch at will: there is one fetch at a time, one a minute for unknown key ids,
//! and a pause after each failure.

use super::fetch::{Flight, Landing, client, get, is_loopback, is_private, locked};
pub use super::key_set::KeysState;
use super::key_set::{KeySet, PublicKey, UntilUseless, Window};
use crate::clock::Clock;
use crate::telemetry::metrics::{Metrics, RequestOutcome};
use moka::future::Cache;
use reqwest::{Client, Url};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Google's JWK set for Firebase ID tokens.
pub const GOOGLE_KEYS_URL: &str =
    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com";

const FETCH_DEADLINE: Duration = Duration::from_secs(5);
const MAX_BODY_BYTES: usize = 256 * 1024;
/// At most one fetch in this time is owed to key ids that are not in the set.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_mins(1);
/// After a failed fetch nobody tries for this long; it doubles while there are keys to serve with.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
const MAX_FAILURE_PAUSE: Duration = Duration::from_mins(1);
/// Ready within five seconds of Google being there.
const MAX_PREFETCH_PAUSE: Duration = Duration::from_secs(4);
/// How often [`Keys::keep_fresh`] looks.
const TICK: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("keys are fetched over https, or over http from this machine")]
    Insecure,
    #[error("cannot build an HTTP client")]
    Client(#[source] reqwest::Error),
}

/// What is known of a key id.
#[derive(Clone, Debug)]
pub(super) enum Lookup {
    Found(Arc<PublicKey>),
    /// Google does not list it.
    Unknown,
    /// Google cannot be asked now.
    Unavailable,
}

/// A handle; clones share one set.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: Url,
    client: Client,
    /// One entry: the whole set.
    cache: Cache<(), Arc<KeySet>>,
    flight: Flight,
    progress: Mutex<Progress>,
    obtained: AtomicBool,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// What decides whether a fetch may start. `window` is that of the cached set.
#[derive(Debug, Default)]
struct Progress {
    window: Option<Window>,
    failures: u32,
    retry_at: Option<Instant>,
    unknown_key_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Missing,
    Ageing,
    UnknownKey,
}

impl Keys {
    pub fn new(url: Url, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, KeysError> {
        if !is_private(&url) {
            return Err(KeysError::Insecure);
        }
        let mut client = client(FETCH_DEADLINE);
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        Ok(Self(Arc::new(Inner {
            url,
            client: client.build().map_err(KeysError::Client)?,
            cache: Cache::builder()
                .max_capacity(1)
                .expire_after(UntilUseless)
                .build(),
            flight: Flight::default(),
            progress: Mutex::default(),
            obtained: AtomicBool::new(false),
            clock,
            metrics,
        })))
    }

    /// Whether keys were ever obtained.
    pub fn ready(&self) -> bool {
        self.0.obtained.load(Ordering::Acquire)
    }

    pub fn state(&self) -> KeysState {
        let now = self.0.clock.instant();
        let window = locked(&self.0.progress).window;
        window.map_or(KeysState::Missing, |window| window.state(now))
    }

    /// Fetches until there are keys, with growing pauses. Readiness waits for it.
    pub async fn prefetch(&self) {
        let mut pause = FAILURE_PAUSE;
        while self.state() == KeysState::Missing {
            if let Some(landing) = self.fetch(Cause::Missing) {
                landing.wait().await;
            }
            if self.state() == KeysState::Missing {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PREFETCH_PAUSE);
            }
        }
    }

    /// Keeps the keys fresh though nobody asks for them, and their age in the metrics. Never ends.
    pub async fn keep_fresh(&self) {
        loop {
            self.prefetch().await;
            if self.is_ageing()
                && let Some(landing) = self.fetch(Cause::Ageing)
            {
                landing.wait().await;
            }
            self.note_age();
            tokio::time::sleep(TICK).await;
        }
    }

    /// The key behind an id that a token names.
    pub(super) async fn find(&self, id: &str) -> Lookup {
        if self.is_ageing() {
            // The present set answers; the next one comes when it comes.
            self.fetch(Cause::Ageing);
        }
        let cause = match self.usable().await {
            Some(set) => match set.keys.get(id) {
                Some(key) => return Lookup::Found(Arc::clone(key)),
                None => Cause::UnknownKey,
            },
            None => Cause::Missing,
        };
        if let Some(landing) = self.fetch(cause) {
            landing.wait().await;
        }
        let Some(set) = self.usable().await else {
            return Lookup::Unavailable;
        };
        match set.keys.get(id) {
            Some(key) => Lookup::Found(Arc::clone(key)),
            // Google may list it by now: only an answer from there can say no.
            None if locked(&self.0.progress).failures > 0 => Lookup::Unavailable,
            None => Lookup::Unknown,
        }
    }

    /// The key behind an id, if it is at hand.
    pub(super) async fn at_hand(&self, id: &str) -> Option<Arc<PublicKey>> {
        self.usable().await?.keys.get(id).cloned()
    }

    async fn usable(&self) -> Option<Arc<KeySet>> {
        let set = self.0.cache.get(&()).await?;
        let state = set.window.state(self.0.clock.instant());
        (state != KeysState::Missing).then_some(set)
    }

    fn is_ageing(&self) -> bool {
        let now = self.0.clock.instant();
        let window = locked(&self.0.progress).window;
        window.is_some_and(|window| now >= window.refresh_at())
    }

    fn note_age(&self) {
        let now = self.0.clock.instant();
        if let Some(window) = locked(&self.0.progress).window {
            let age = now.saturating_duration_since(window.fetched_at).as_secs();
            self.0
                .metrics
                .key_age_seconds
                .set(i64::try_from(age).unwrap_or(i64::MAX));
        }
    }

    /// Joins or starts a fetch; `None` where none may start now.
    fn fetch(&self, cause: Cause) -> Option<Landing> {
        self.0.flight.join(|| {
            let now = self.0.clock.instant();
            let may_start = locked(&self.0.progress).start(cause, now);
            may_start.then(|| Arc::clone(&self.0).refresh())
        })
    }
}

impl Progress {
    /// Whether a fetch may start now; if so, it is noted.
    fn start(&mut self, cause: Cause, now: Instant) -> bool {
        if self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        match cause {
            // Whoever came first has brought the keys already.
            Cause::Missing => self
                .window
                .is_none_or(|window| window.state(now) == KeysState::Missing),
            Cause::Ageing => self.window.is_some_and(|window| now >= window.refresh_at()),
            Cause::UnknownKey => {
                let due = self
                    .unknown_key_at
                    .is_none_or(|at| now.saturating_duration_since(at) >= UNKNOWN_KEY_PAUSE);
                if due {
                    self.unknown_key_at = Some(now);
                }
                due
            }
        }
    }

    fn succeeded(&mut self, window: Window) {
        self.window = Some(window);
        self.failures = 0;
        self.retry_at = None;
    }

    fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let serving = self
            .window
            .is_some_and(|window| window.state(now) != KeysState::Missing);
        let pause = if serving {
            let doublings = (self.failures - 1).min(6);
            (FAILURE_PAUSE * (1 << doublings)).min(MAX_FAILURE_PAUSE)
        } else {
            FAILURE_PAUSE
        };
        self.retry_at = Some(now + pause);
    }
}

impl Inner {
    /// One fetch. A set that is broken or empty leaves the present one where it is.
    async fn refresh(self: Arc<Self>) {
        let fetched = get(self.client.get(self.url.clone()), MAX_BODY_BYTES).await;
        let now = self.clock.instant();
        let outcome = match fetched.and_then(|(headers, body)| KeySet::read(&headers, &body, now)) {
            Ok(set) => {
                let window = set.window;
                self.cache.insert((), Arc::new(set)).await;
                locked(&self.progress).succeeded(window);
                self.obtained.store(true, Ordering::Release);
                self.metrics.key_age_seconds.set(0);
                RequestOutcome::Ok
            }
            Err(error) => {
                locked(&self.progress).failed(now);
                tracing::warn!(%error, "cannot fetch Google's public keys");
                error.into()
            }
        };
        self.metrics
            .key_fetches
            .get_or_create(&outcome.into())
            .inc();
    }
}

#[cfg(test)]
mod tests;
