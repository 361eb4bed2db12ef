//! The one queue of a session: what the client said, in order, and the word that it is over.
//!
//! "The mailbox closed" is the only definition of the end of a connection (socketioxide may run the
//! connect handler after the close, or find no disconnect handler at all: `ns.rs`, `socket.rs`).
//! Not a tokio channel: those reserve 32 slots for each idle connection, and any side may close this one.

use super::events::ErrorCode;
use super::line::Line;
use super::rooms::Rooms;
use super::term::Term;
use crate::domain::ids::UserId;
use crate::telemetry::metrics::CloseReason;
use socketioxide::extract::AckSender;
use socketioxide_core::{Sid, Str};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most events that may wait. A full mailbox closes the connection as `overloaded`.
const MAX_EVENTS: usize = 1_024;
/// Most bytes that may wait, before the last event.
const MAX_BYTES: usize = 512 * 1024;

/// One event of the client, unparsed: `["name", payload]`.
pub(crate) struct Envelope {
    pub(crate) frame: Str,
    pub(crate) ack: AckSender<Rooms>,
    pub(crate) wants_ack: bool,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client left, or its transport broke. What it said before still counts.
    Gone(CloseReason),
    /// The bridge ends it. What waits is void; the client hears `closing` with this code.
    Closed(ErrorCode),
}

pub struct Mailbox {
    /// Who the token of the handshake proved the client to be, and for how long.
    pub(crate) user: UserId,
    pub(crate) term: Term,
    pub(crate) sid: Sid,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<Envelope>,
    size_bytes: usize,
    end: Option<End>,
    /// The TCP connection under the WebSocket, where there is one.
    line: Option<Arc<Line>>,
    /// An audit has already missed this connection's socket.
    suspect: bool,
}

impl Mailbox {
    pub(crate) fn new(user: UserId, term: Term, sid: Sid) -> Self {
        Self {
            user,
            term,
            sid,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Puts one event at the end; a mailbox that was full is closed as overloaded.
    pub(crate) fn push(&self, envelope: Envelope) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        if state.events.len() >= MAX_EVENTS || state.size_bytes >= MAX_BYTES {
            state.end(End::Closed(ErrorCode::Overloaded));
        } else {
            state.size_bytes += envelope.frame.len();
            state.events.push_back(envelope);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the connection. The first reason stands.
    pub(crate) fn close(&self, end: End) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end(end);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The next event, or the end once every event that counts was taken. One taker only.
    pub(crate) async fn next(&self) -> Result<Envelope, End> {
        loop {
            {
                let mut state = self.lock();
                if let Some(envelope) = state.events.pop_front() {
                    state.size_bytes -= envelope.frame.len();
                    if state.events.is_empty() {
                        // An idle connection keeps no buffer.
                        state.events = VecDeque::new();
                    }
                    return Ok(envelope);
                }
                if let Some(end) = state.end {
                    return Err(end);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Notes that an audit missed this connection's socket; `true` when it was missed before.
    pub(crate) fn suspect(&self) -> bool {
        std::mem::replace(&mut self.lock().suspect, true)
    }

    pub(crate) fn set_line(&self, line: Arc<Line>) {
        self.lock().line = Some(line);
    }

    pub(crate) fn line(&self) -> Option<Arc<Line>> {
        self.lock().line.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, end: End) {
        if matches!(end, End::Closed(_)) {
            self.events = VecDeque::new();
            self.size_bytes = 0;
        }
        self.end = Some(end);
    }
}
