//! Those who follow a place of the tree (`Accept: text/event-stream`).
//!
//! Every reader has a queue of its own with a bound; one who does not keep up is cut off, and no
//! write ever waits for a reader.

use super::credential::Credential;
use super::path::Path;
use super::rules::Rules;
use super::tree::{Change, Tree, export};
use crate::dev::listen::Connection;
use crate::domain::time::UnixMillis;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many events a reader may lag behind.
const QUEUE_EVENTS: usize = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// One event, as it stands on the wire.
type Event = String;

fn event(name: &str, data: &Value) -> Event {
    format!("event: {name}\ndata: {data}\n\n")
}

#[derive(Debug, Default)]
pub(super) struct Readers(Vec<Reader>);

#[derive(Debug)]
struct Reader {
    path: Path,
    credential: Credential,
    connection: Connection,
    queue: mpsc::Sender<Event>,
}

/// The reading end: what there was at the start, then what comes.
pub(super) struct Reading {
    first: Event,
    connection: Connection,
    expires_at: Option<UnixMillis>,
    queue: mpsc::Receiver<Event>,
}

impl Readers {
    pub(super) fn add(
        &mut self,
        path: Path,
        credential: Credential,
        connection: Connection,
        tree: &Tree,
    ) -> Reading {
        let (queue, receiver) = mpsc::channel(QUEUE_EVENTS);
        let data = json!({ "path": "/", "data": export(tree.at(&path)) });
        let reading = Reading {
            first: event("put", &data),
            connection: connection.clone(),
            expires_at: credential.expires_at(),
            queue: receiver,
        };
        self.0.push(Reader {
            path,
            credential,
            connection,
            queue,
        });
        reading
    }

    /// Sends a write to everybody whom it concerns; `base` is the place of a PATCH.
    pub(super) fn tell(&mut self, base: Option<&Path>, changes: &[Change], tree: &Tree) {
        self.0.retain(|reader| {
            let event = match base {
                Some(base) => patched(&reader.path, base, changes, tree),
                None => changes
                    .iter()
                    .find_map(|change| put(&reader.path, change, tree)),
            };
            let Some(event) = event else {
                return !reader.queue.is_closed();
            };
            match reader.queue.try_send(event) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    reader.connection.reset();
                    false
                }
            }
        });
    }

    /// Tells those who may no longer read that it is over.
    pub(super) fn recheck(&mut self, tree: &Tree, rules: &Rules, now: UnixMillis) {
        self.0.retain(|reader| {
            let allowed = reader
                .credential
                .auth()
                .is_none_or(|auth| rules.judge(auth, now).may_read(&reader.path, tree));
            if !allowed
                && reader
                    .queue
                    .try_send(event("cancel", &Value::Null))
                    .is_err()
            {
                reader.connection.reset();
            }
            allowed
        });
    }
}

/// The event of one replaced place for a reader at `path`.
fn put(path: &Path, change: &Change, tree: &Tree) -> Option<Event> {
    let data = if change.path.contains(path) {
        json!({ "path": "/", "data": export(tree.at(path)) })
    } else {
        let below = path.to(&change.path)?;
        json!({ "path": format!("/{}", below.join("/")), "data": export(&change.value) })
    };
    Some(event("put", &data))
}

/// The event of a PATCH at `base` for a reader at `path`.
fn patched(path: &Path, base: &Path, changes: &[Change], tree: &Tree) -> Option<Event> {
    if let Some(above) = changes.iter().find(|change| change.path.contains(path)) {
        return put(path, above, tree);
    }
    // Of a patch further up, a reader sees the part below its own place.
    let root = if path.contains(base) { base } else { path };
    let below: Map<String, Value> = changes
        .iter()
        .filter(|change| path.contains(&change.path))
        .filter_map(|change| Some((root.to(&change.path)?.join("/"), export(&change.value))))
        .collect();
    if below.is_empty() {
        return None;
    }
    let place = path.to(root).unwrap_or_default().join("/");
    let data = json!({ "path": format!("/{place}"), "data": below });
    Some(event("patch", &data))
}

impl Reading {
    pub(super) fn into_response(self, now: UnixMillis) -> Response {
        let kind = [
            (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        let left = self
            .expires_at
            .map(|at| Duration::from_millis(at.0.saturating_sub(now.0)));
        let expiry = async move {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let state = Phase::First(self, Box::pin(expiry));
        let events = stream::unfold(state, async |phase| {
            let (event, phase) = phase.next().await?;
            Some((Ok::<_, Infallible>(event), phase))
        });
        (kind, Body::from_stream(events)).into_response()
    }
}

type Expiry = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

enum Phase {
    First(Reading, Expiry),
    Following(Reading, Expiry),
    Over,
}

impl Phase {
    async fn next(self) -> Option<(Event, Self)> {
        let (mut reading, mut expiry) = match self {
            Self::First(mut reading, expiry) => {
                let first = std::mem::take(&mut reading.first);
                return Some((first, Self::Following(reading, expiry)));
            }
            Self::Following(reading, expiry) => (reading, expiry),
            Self::Over => return None,
        };
        let event = tokio::select! {
            // A dropped sender is the end: the reader was cut off or has lost the permission.
            event = reading.queue.recv() => event?,
            () = &mut expiry => {
                let data = Value::from("credential is no longer valid");
                return Some((event("auth_revoked", &data), Self::Over));
            }
            () = reading.connection.ended() => return None,
            () = tokio::time::sleep(KEEP_ALIVE) => event("keep-alive", &Value::Null),
        };
        Some((event, Self::Following(reading, expiry)))
    }
}
