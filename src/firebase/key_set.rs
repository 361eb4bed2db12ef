//! A set of Google's public keys, and for how long it counts.

use super::fetch::FetchError;
use super::json::Object;
use jsonwebtoken::DecodingKey;
use moka::Expiry;
use reqwest::header::{AGE, CACHE_CONTROL, HeaderMap};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIN_TTL: Duration = Duration::from_mins(5);
const MAX_TTL: Duration = Duration::from_hours(24);
/// How long a set serves after its TTL.
const STALE_LIMIT: Duration = Duration::from_hours(24);
/// A key id is only ever a map key; a longer one cannot be Google's (40 hex digits).
const MAX_KEY_ID_CHARS: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysState {
    /// No key to verify with: nobody gets in.
    Missing,
    Fresh,
    /// Past their age because Google could not be reached; they still serve.
    Stale,
}

#[derive(Clone, Debug)]
pub(super) struct KeySet {
    pub(super) keys: HashMap<Arc<str>, Arc<PublicKey>>,
    pub(super) window: Window,
}

/// One public key. Its id is shared with whatever remembers what it has signed.
#[derive(Debug)]
pub(super) struct PublicKey {
    pub(super) id: Arc<str>,
    pub(super) key: DecodingKey,
}

/// The time in which a set counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) fetched_at: Instant,
    /// How long it is young.
    pub(super) ttl: Duration,
}

/// The cache drops a set that may serve no longer; whether one may serve is judged by `Clock`.
pub(super) struct UntilUseless;

impl Expiry<(), Arc<KeySet>> for UntilUseless {
    fn expire_after_create(&self, (): &(), set: &Arc<KeySet>, _: Instant) -> Option<Duration> {
        Some(set.window.ttl + STALE_LIMIT)
    }

    fn expire_after_update(
        &self,
        (): &(),
        set: &Arc<KeySet>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(set.window.ttl + STALE_LIMIT)
    }
}

impl Window {
    pub(super) fn refresh_at(self) -> Instant {
        self.fetched_at + self.ttl * 3 / 4
    }

    pub(super) fn state(self, now: Instant) -> KeysState {
        let age = now.saturating_duration_since(self.fetched_at);
        if age < self.ttl {
            KeysState::Fresh
        } else if age < self.ttl + STALE_LIMIT {
            KeysState::Stale
        } else {
            KeysState::Missing
        }
    }
}

impl KeySet {
    /// Reads a JWK set (RFC 7517). Entries that are no RS256 keys are passed over; a set without any is refused.
    pub(super) fn read(headers: &HeaderMap, body: &[u8], now: Instant) -> Result<Self, FetchError> {
        let set = Object::parse(body).map_err(|_| FetchError::Malformed)?;
        let entries = set.get::<Vec<serde_json::Value>>("keys");
        let Ok(Some(entries)) = entries else {
            return Err(FetchError::Malformed);
        };
        let keys: HashMap<_, _> = entries
            .iter()
            .filter_map(read_key)
            .map(|key| (Arc::clone(&key.id), Arc::new(key)))
            .collect();
        if keys.is_empty() {
            return Err(FetchError::Malformed);
        }
        Ok(Self {
            keys,
            window: Window {
                fetched_at: now,
                ttl: ttl(headers),
            },
        })
    }
}

fn read_key(entry: &serde_json::Value) -> Option<PublicKey> {
    let text = |name: &str| entry.get(name).and_then(serde_json::Value::as_str);
    let absent_or = |name: &str, value: &str| {
        entry
            .get(name)
            .is_none_or(|found| found.as_str() == Some(value))
    };
    let id = text("kid").filter(|id| is_key_id(id))?;
    if text("kty") != Some("RSA") || !absent_or("alg", "RS256") || !absent_or("use", "sig") {
        return None;
    }
    let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
    Some(PublicKey { id: id.into(), key })
}

pub(super) fn is_key_id(id: &str) -> bool {
    !id.is_empty() && (id.len() <= MAX_KEY_ID_CHARS || id.chars().count() <= MAX_KEY_ID_CHARS)
}

/// How long an answer is young (RFC 9111): `max-age` less the time it has spent in caches on its way.
fn ttl(headers: &HeaderMap) -> Duration {
    let max_age = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|directive| {
            let (name, value) = directive.trim().split_once('=')?;
            name.eq_ignore_ascii_case("max-age")
                .then(|| seconds(value.trim_matches('"')))
        });
    let age = headers.get(AGE).and_then(|value| value.to_str().ok());
    let seconds = max_age
        .flatten()
        .unwrap_or(0)
        .saturating_sub(age.and_then(seconds).unwrap_or(0));
    Duration::from_secs(seconds).clamp(MIN_TTL, MAX_TTL)
}

/// A number of seconds; one too large to hold counts as very large (RFC 9111, 1.2.2).
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}
