//! What the server remembers of one connection while it lives, and its life from `ready` to the end.

use super::Bridge;
use super::events::{Closing, ErrorCode, ExpiresIn, Ready, ServerEvent};
use super::mailbox::{End, Mailbox};
use super::rooms::{self, Rooms};
use super::term::Term;
use crate::domain::ids::{ChatId, ConnectionId, UserId};
use crate::domain::quota::Bucket;
use crate::telemetry::metrics::CloseReason;
use futures_util::FutureExt;
use rand::RngExt;
use serde::Serialize;
use socketioxide::extract::SocketRef;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Events handled before the other tasks get a turn: the writer of this connection among them.
const EVENTS_PER_TURN: u32 = 8;
/// Clients told to reconnect spread over this time.
const RECONNECT_SPREAD: Duration = Duration::from_secs(5);
/// How long a closed client may take to read its `closing` before the line is cut.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often a full send buffer is tried again for the `closing`.
const FAREWELL_RETRY: Duration = Duration::from_millis(50);

pub(crate) struct Session {
    pub(super) bridge: Arc<Bridge>,
    pub(super) socket: SocketRef<Rooms>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) user: UserId,
    pub(super) id: ConnectionId,
    pub(super) term: Term,
    notified: bool,
    pub(super) joined: Vec<ChatId>,
    pub(super) watched: Vec<UserId>,
    pub(super) bucket: Bucket,
}

impl Session {
    /// The whole life of one connection. Whatever happens in between, the end is always reached.
    pub(super) async fn run(bridge: Arc<Bridge>, socket: SocketRef<Rooms>, mailbox: Arc<Mailbox>) {
        let (user, term) = (mailbox.user.clone(), mailbox.term);
        let id = ConnectionId(bridge.live.last_connection.fetch_add(1, Ordering::Relaxed));
        let mut session = Self {
            bridge,
            socket,
            mailbox,
            user,
            id,
            term,
            notified: false,
            joined: Vec::new(),
            watched: Vec::new(),
            bucket: Bucket::default(),
        };
        // Boxed: a session is idle most of its life, and its size is that of its largest wait.
        Box::pin(session.begin()).await;
        let end = AssertUnwindSafe(session.serve())
            .catch_unwind()
            .await
            .unwrap_or_else(|_| {
                session.bridge.metrics.panics.inc();
                End::Closed(ErrorCode::Internal)
            });
        Box::pin(session.finish(end)).await;
    }

    async fn begin(&mut self) {
        let bridge = &self.bridge;
        bridge.metrics.connections_opened.inc();
        bridge.metrics.connections.inc();
        let mailbox = Arc::clone(&self.mailbox);
        let opened = bridge.connections.open(&self.user, self.id, mailbox);
        if let Some(oldest) = opened.evicted {
            oldest.close(End::Closed(ErrorCode::TooManyConnections));
        }
        self.share_a_room(&opened.others);
        bridge
            .presence
            .connected(&self.user, self.id, bridge.clock.now())
            .await;
        let ready = Ready {
            user_id: self.user.as_str(),
            expires_in_ms: self.expires_in_ms(),
        };
        self.emit(ServerEvent::Ready, &ready);
    }

    /// Puts the user's connections into one room, so that an emit can spare all of them. A single
    /// connection needs none: it is spared as the sender.
    fn share_a_room(&self, others: &[Arc<Mailbox>]) {
        if others.is_empty() {
            return;
        }
        self.socket.join(rooms::user(&self.user));
        for other in others
            .iter()
            .filter_map(|other| self.bridge.live.socket(other.sid))
        {
            other.join(rooms::user(&self.user));
            // It may have left every room between the look and the join.
            if !other.connected() {
                other.leave_all();
            }
        }
    }

    async fn serve(&mut self) -> End {
        let mut handled = 0_u32;
        loop {
            let timer = tokio::time::sleep(self.until_token_deadline());
            let mailbox = Arc::clone(&self.mailbox);
            tokio::pin!(timer);
            loop {
                tokio::select! {
                    biased;
                    next = mailbox.next() => match next {
                        Ok(envelope) => {
                            let term = self.term;
                            if let Some(envelope) = self.handle(envelope) {
                                Box::pin(self.handle_patiently(envelope)).await;
                            }
                            handled += 1;
                            if handled == EVENTS_PER_TURN {
                                handled = 0;
                                tokio::task::yield_now().await;
                            }
                            if self.term != term {
                                self.notified = false;
                                break;
                            }
                        }
                        Err(end) => return end,
                    },
                    () = &mut timer => {
                        if self.notified && self.until_token_deadline().is_zero() {
                            return End::Closed(ErrorCode::TokenExpired);
                        }
                        if !self.notified && self.until_token_deadline().is_zero() {
                            self.notified = true;
                            self.emit(ServerEvent::TokenExpiring, &ExpiresIn { expires_in_ms: self.expires_in_ms() });
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Everything the world knew of this connection is undone here, first what people can see.
    async fn finish(mut self, end: End) {
        let bridge = Arc::clone(&self.bridge);
        let now = bridge.clock.now();
        for chat in &self.joined {
            self.stop_typing_in(chat);
        }
        self.socket.leave_all();
        let joined = std::mem::take(&mut self.joined);
        if bridge.connections.close(&self.user, self.id) {
            let until = now.instant + bridge.limits.presence_grace;
            bridge.chats.linger(&self.user, joined, now.instant, until);
        } else {
            for chat in &joined {
                bridge.chats.leave(&self.user, chat);
            }
        }
        bridge.presence.disconnected(&self.user, self.id, now).await;
        bridge.live.remove(&self.mailbox);
        bridge.metrics.connections.dec();
        bridge
            .metrics
            .connections_closed
            .get_or_create(&close_reason(end).into())
            .inc();
        match end {
            End::Closed(code) => self.say_goodbye(code).await,
            // Whoever leaves the namespace keeps the transport, a place that counts for nobody.
            End::Gone(_) => self.hang_up(true).await,
        }
    }

    /// Tells the client why, then ends the transport.
    ///
    /// A client that shall come back loses its transport, so that the stock client reconnects by itself;
    /// one that shall not is disconnected from the namespace, which the stock client takes as final.
    async fn say_goodbye(&self, code: ErrorCode) {
        if code == ErrorCode::SlowConsumer {
            self.bridge.metrics.slow_consumers.inc();
        }
        if code == ErrorCode::Overloaded {
            self.bridge.metrics.mailbox_full.inc();
        }
        let retry_after = code
            .reconnect()
            .then(|| rand::rng().random_range(0..spread_ms()));
        let closing = Closing {
            code,
            reconnect: code.reconnect(),
            retry_after_ms: retry_after,
        };
        let line = self.mailbox.line();
        let before = line.as_ref().map_or(0, |line| line.flushes());
        let told = tokio::time::timeout(FAREWELL, async {
            while self.socket.connected() && !self.try_emit(ServerEvent::Closing, &closing) {
                tokio::time::sleep(FAREWELL_RETRY).await;
            }
        })
        .await;
        // A client that has left may have connected again: socketioxide would remove the new socket, which has
        // the same id, and nobody would hear of its end (`socket.rs`, `close`).
        if !code.reconnect() && self.socket.connected() {
            // Refused when the buffer is full or the socket gone; the line is cut below then.
            self.socket.clone().disconnect().unwrap_or_default();
        }
        let Some(line) = line else {
            // At a drain the process ends sooner than that, and the transport with it.
            if code != ErrorCode::Draining {
                tokio::time::sleep(FAREWELL).await;
                self.bridge.live.end_polling(self.socket.id).await;
            }
            return;
        };
        let heard = told.is_ok()
            && tokio::time::timeout(FAREWELL, line.written(before))
                .await
                .is_ok();
        self.hang_up(heard).await;
    }

    /// Ends the transport: in order, unless the client is known not to listen or does not take the end.
    async fn hang_up(&self, in_order: bool) {
        let Some(line) = self.mailbox.line() else {
            return self.bridge.live.end_polling(self.socket.id).await;
        };
        line.finish();
        if !in_order || tokio::time::timeout(FAREWELL, line.gone()).await.is_err() {
            line.cut();
        }
    }

    pub(super) fn emit(&self, event: ServerEvent, payload: &impl Serialize) {
        if !self.try_emit(event, payload) && self.socket.connected() {
            self.mailbox.close(End::Closed(ErrorCode::SlowConsumer));
        }
    }

    fn try_emit(&self, event: ServerEvent, payload: &impl Serialize) -> bool {
        self.socket.emit(event, payload).is_ok()
    }

    /// Until `exp`, without leeway.
    fn expires_in(&self) -> Duration {
        let left = self.term.left(self.bridge.clock.instant());
        left.saturating_sub(self.bridge.limits.auth_leeway)
    }

    pub(super) fn expires_in_ms(&self) -> u64 {
        u64::try_from(self.expires_in().as_millis()).unwrap_or(u64::MAX)
    }

    /// Until the notice, or once it was given, until the token is no longer accepted.
    fn until_token_deadline(&self) -> Duration {
        if self.notified {
            self.term.left(self.bridge.clock.instant())
        } else {
            self.expires_in()
                .saturating_sub(self.bridge.limits.expiry_notice)
        }
    }
}

fn spread_ms() -> u64 {
    u64::try_from(RECONNECT_SPREAD.as_millis()).unwrap_or(u64::MAX)
}

fn close_reason(end: End) -> CloseReason {
    match end {
        End::Gone(reason) => reason,
        End::Closed(code) => match code {
            ErrorCode::Draining => CloseReason::Draining,
            ErrorCode::SlowConsumer => CloseReason::SlowConsumer,
            ErrorCode::TokenExpired => CloseReason::TokenExpired,
            ErrorCode::Unauthorized => CloseReason::Unauthorized,
            ErrorCode::TooManyConnections => CloseReason::TooManyConnections,
            ErrorCode::Overloaded => CloseReason::Overloaded,
            ErrorCode::Forbidden => CloseReason::Forbidden,
            // The rest are errors of single events; none of them closes.
            ErrorCode::AppCheckFailed
            | ErrorCode::InvalidPayload
            | ErrorCode::TooLarge
            | ErrorCode::NotJoined
            | ErrorCode::RateLimited
            | ErrorCode::TooManyChats
            | ErrorCode::Unavailable
            | ErrorCode::UnknownEvent
            | ErrorCode::Internal => CloseReason::Internal,
        },
    }
}
