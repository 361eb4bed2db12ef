//! A stand-in for the Firebase Realtime Database over real HTTP, in memory, on loopback.
//!
//! - [`tree`], [`path`], [`query`]: what the data is and how it is read; pure values.
//! - [`rules`]: security rules, parsed as a whole or refused.
//! - `namespace`: one database. `call`, `credential`, `rest`, `stream`: the REST door.
//! - [`faults`] and the history: what tests make go wrong, and what they look at afterwards.
//!
//! All state is behind one mutex, which is never held across an await.

mod answer;
mod call;
mod credential;
pub mod faults;
mod namespace;
pub mod path;
mod push_id;
pub mod query;
mod rest;
pub mod rules;
mod stream;
#[cfg(test)]
mod tests;
pub mod tree;

pub use credential::CredentialKind;
pub use faults::{Fault, Target};
pub use rules::RulesError;

use super::listen::{self, ConnectionCount};
use crate::clock::Clock;
use crate::domain::time::Moment;
use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use faults::Faults;
use namespace::{Namespace, Write};
use path::Path;
use push_id::PushIds;
use rules::Rules;
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The rules that a namespace starts with unless the maker of the stand-in says otherwise.
pub const DEFAULT_RULES: &str = include_str!("../../../firebase/database.rules.json");
/// How many requests the history remembers, and how many bytes of their bodies together.
const HISTORY_ENTRIES: usize = 4096;
const HISTORY_BYTES: usize = 16 * 1024 * 1024;
const MAX_NAMESPACES: usize = 1000;
const MAX_NAMESPACE_CHARS: usize = 100;

/// The databases of one project. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct DatabaseStandIn {
    shared: Arc<Shared>,
}

struct Shared {
    project: String,
    default_namespace: String,
    /// What a new namespace starts with.
    rules: Arc<Rules>,
    clock: Clock,
    /// A std mutex: nothing is awaited while it is held.
    state: Mutex<State>,
    connections: Arc<ConnectionCount>,
    /// Counts what has happened.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    namespaces: HashMap<String, Namespace>,
    admin_tokens: HashSet<String>,
    history: History,
    counters: Counters,
    faults: Faults,
    push_ids: PushIds,
}

/// The last requests, each with the size of its body in bytes.
#[derive(Default)]
struct History {
    entries: VecDeque<(usize, Entry)>,
    size_bytes: usize,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Read,
    /// Applied; `records` is the number of places written: for a PATCH its keys.
    Committed {
        records: usize,
    },
    /// Not performed, and answered with this status.
    Refused(u16),
    /// A fault took it: nothing was read or written.
    Lost,
}

/// One request of the history, in the order of the commits.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// From 1, without gaps.
    pub sequence: u64,
    pub at: Moment,
    /// The connection it came on, in the order of arrival from 1.
    pub connection: u64,
    pub namespace: String,
    pub method: Method,
    /// As in the URL, without `.json`.
    pub path: String,
    /// Without credentials.
    pub query: Vec<(String, String)>,
    /// If it is JSON and at most 64 KiB.
    pub body: Option<Value>,
    pub credential: CredentialKind,
    pub verdict: Verdict,
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub requests: u64,
    pub reads: u64,
    pub writes: u64,
    /// Places written by all writes together.
    pub records: u64,
    pub refused: u64,
    pub lost: u64,
    pub connections_opened: u64,
    pub connections_open: u64,
}

impl DatabaseStandIn {
    /// The default namespace is `<project>-default-rtdb`; others come to be when first used, each
    /// with these rules.
    pub fn new(project: &str, rules: &str, clock: Clock) -> Result<Self, RulesError> {
        Ok(Self {
            shared: Arc::new(Shared {
                project: project.to_owned(),
                default_namespace: format!("{project}-default-rtdb"),
                rules: Arc::new(Rules::parse(rules)?),
                clock,
                state: Mutex::default(),
                connections: Arc::default(),
                changed: watch::Sender::new(0),
            }),
        })
    }

    pub fn default_namespace(&self) -> &str {
        &self.shared.default_namespace
    }

    /// From now on `Bearer <token>` is an administrator, as `owner` always is.
    pub fn accept_admin_token(&self, token: &str) {
        self.lock().admin_tokens.insert(token.to_owned());
    }

    /// From now on `Bearer <token>` is `Unauthorized request.` again.
    pub fn refuse_admin_token(&self, token: &str) {
        self.lock().admin_tokens.remove(token);
    }

    /// Lets the next `times` matching requests fail.
    pub fn inject(&self, target: Target, times: usize, fault: Fault) {
        self.lock().faults.add(target, times, fault);
    }

    /// Forgets the faults that were not spent.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// The last requests, oldest first.
    pub fn history(&self) -> Vec<Entry> {
        let state = self.lock();
        let entries = state.history.entries.iter();
        entries.map(|(_, entry)| entry.clone()).collect()
    }

    /// Those after this sequence number.
    pub fn history_after(&self, sequence: u64) -> Vec<Entry> {
        let state = self.lock();
        let newest_first = state.history.entries.iter().rev();
        let newer = newest_first.take_while(|(_, entry)| entry.sequence > sequence);
        let mut newer: Vec<_> = newer.map(|(_, entry)| entry.clone()).collect();
        newer.reverse();
        newer
    }

    pub fn counters(&self) -> Counters {
        Counters {
            connections_opened: self.shared.connections.opened(),
            connections_open: self.shared.connections.open(),
            ..self.lock().counters
        }
    }

    /// The value at `path` of the default namespace as a reader sees it; null where there is none
    /// and where `path` is not a path.
    pub fn value(&self, path: &str) -> Value {
        let state = self.lock();
        let namespace = state.namespaces.get(&self.shared.default_namespace);
        let path = Path::parse(path).ok();
        namespace
            .zip(path)
            .map_or(Value::Null, |(namespace, path)| namespace.value(&path))
    }

    /// Writes to the default namespace as an administrator; not in the history. False if the data
    /// or the path are not valid.
    pub fn put(&self, path: &str, value: &Value) -> bool {
        let Ok(path) = Path::parse(path) else {
            return false;
        };
        let now = self.shared.clock.unix();
        let name = &self.shared.default_namespace;
        let done = self.lock().namespace(name, self).is_some_and(|namespace| {
            let admin = credential::Credential::Admin;
            let write = Write::Put(value);
            namespace.write(&path, &write, &admin, now).is_ok()
        });
        self.tell();
        done
    }

    /// Waits until `condition` holds, looking again after every request and every [`Self::put`].
    pub async fn until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        while !condition(self) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Wakes those who wait for something to become true.
    fn tell(&self) {
        self.shared.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves at worst a write without its history entry.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn namespace(&mut self, name: &str, standin: &DatabaseStandIn) -> Option<&mut Namespace> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !self.namespaces.contains_key(name) {
            let fits = (1..=MAX_NAMESPACE_CHARS).contains(&name.len()) && name.chars().all(plain);
            if !fits || self.namespaces.len() == MAX_NAMESPACES {
                return None;
            }
            let fresh = Namespace::new(Arc::clone(&standin.shared.rules));
            self.namespaces.insert(name.to_owned(), fresh);
        }
        self.namespaces.get_mut(name)
    }

    /// Enters a request whose body had so many bytes; the oldest make room.
    fn record(&mut self, body_bytes: usize, mut entry: Entry) {
        let counters = &mut self.counters;
        counters.requests += 1;
        match entry.verdict {
            Verdict::Read => counters.reads += 1,
            Verdict::Committed { records } => {
                counters.writes += 1;
                counters.records += records as u64;
            }
            Verdict::Refused(_) => counters.refused += 1,
            Verdict::Lost => counters.lost += 1,
        }
        entry.sequence = counters.requests;
        let kept_bytes = entry.body.as_ref().map_or(0, |_| body_bytes);
        self.history.push(kept_bytes, entry);
    }
}

impl History {
    fn push(&mut self, size_bytes: usize, entry: Entry) {
        self.entries.push_back((size_bytes, entry));
        self.size_bytes += size_bytes;
        while self.entries.len() > HISTORY_ENTRIES || self.size_bytes > HISTORY_BYTES {
            let Some((freed, _)) = self.entries.pop_front() else {
                return;
            };
            self.size_bytes -= freed;
        }
    }
}

/// Serves the stand-in until `shutdown`. Refuses a listener that is not on loopback.
pub async fn serve(
    listener: TcpListener,
    standin: DatabaseStandIn,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let count = Arc::clone(&standin.shared.connections);
    let router =
        Router::new().fallback(move |request: Request| rest::handle(standin.clone(), request));
    listen::serve(listener, router, count, shutdown).await
}
