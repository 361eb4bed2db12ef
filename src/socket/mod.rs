//! The Socket.IO front door.
//!
//! One event's way: socketioxide's reader calls [`auth::Inbox`] (sync, in packet order) → the
//! [`mailbox`] of the connection → its [`session`] → [`handlers`] → [`rooms`] → the others.
//! The protocol table is [`events`]; [`door`] and [`line`] stand between HTTP and socketioxide.

pub mod auth;
pub mod door;
pub mod events;
mod handlers;
pub mod line;
pub mod mailbox;
pub mod presence;
pub mod rooms;
pub mod session;
mod term;

use crate::clock::Clock;
use crate::domain::quota::Quota;
use crate::services::messages::Messages;
use crate::services::ports::{Access, Verify};
use crate::services::presence::PresenceHandle;
use crate::services::typing::Typing;
use crate::store::chats::Chats;
use crate::store::connections::Connections;
use crate::telemetry::metrics::{CloseReason, Metrics};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use events::ErrorCode;
use line::Line;
use mailbox::{End, Mailbox};
use prometheus_client::metrics::counter::Counter;
use rooms::Rooms;
use serde::ser::{Error as _, Serialize, Serializer};
use socketioxide::extract::SocketRef;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SendError, SocketError, SocketIo, TransportType};
use socketioxide_core::Sid;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// socketioxide's path (its default).
const PATH: &str = "/socket.io";
/// How often the registry is held against what socketioxide still knows.
const AUDIT_INTERVAL: Duration = Duration::from_secs(30);
/// A client has this long from the transport's opening to a successful CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Packets that may wait for one reader; one more and it is a slow consumer. Takes memory only when used.
const SEND_BUFFER_PACKETS: usize = 2_048;
/// What a frame may hold beyond an event's payload: packet head, event name, acknowledgement number.
pub const FRAME_OVERHEAD: usize = 4 * 1024;

/// The numbers of the front door, from the settings.
#[derive(Clone, Debug)]
pub struct Limits {
    pub message_size: usize,
    pub chats_per_connection: usize,
    pub watched_users: usize,
    pub quota: Quota,
    /// Chats with more joined connections hear nothing of presence.
    pub presence_max_room: usize,
    pub presence_grace: Duration,
    pub auth_leeway: Duration,
    pub expiry_notice: Duration,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    pub polling: bool,
}

/// What all sessions share.
pub struct Bridge {
    pub verify: Arc<dyn Verify>,
    pub access: Arc<dyn Access>,
    pub presence: PresenceHandle,
    pub typing: Arc<Typing>,
    pub messages: Messages,
    pub connections: Arc<Connections<Arc<Mailbox>>>,
    pub chats: Arc<Chats>,
    pub live: Arc<Live>,
    pub sessions: TaskTracker,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    /// The counters of `events`, looked up once.
    pub accepted: Counter,
    pub refused: Counter,
    pub limits: Limits,
}

/// The live sockets of this process, by socket id, and whether more may come.
#[derive(Default)]
pub struct Live {
    known: Mutex<Known>,
    draining: AtomicBool,
    last_connection: AtomicU64,
    /// Both are set once, when they are built.
    io: OnceLock<SocketIo<Rooms>>,
    engine: OnceLock<Engine>,
}

/// Answers every request to [`PATH`]; the others are unknown to it.
pub type Engine = SocketIoService<Router, Rooms>;

#[derive(Default)]
struct Known {
    mailboxes: HashMap<Sid, Arc<Mailbox>>,
    /// The lines of sessions that moved to a WebSocket before they had a mailbox.
    moved: HashMap<Sid, Arc<Line>>,
}

impl Live {
    /// `false`: the session before on the same transport has not ended yet.
    fn insert(&self, mailbox: Arc<Mailbox>) -> bool {
        let mut known = self.lock();
        if known.mailboxes.contains_key(&mailbox.sid) {
            return false;
        }
        if let Some(line) = known.moved.remove(&mailbox.sid) {
            mailbox.set_line(line);
        }
        known.mailboxes.insert(mailbox.sid, mailbox);
        true
    }

    fn get(&self, sid: Sid) -> Option<Arc<Mailbox>> {
        self.lock().mailboxes.get(&sid).cloned()
    }

    fn remove(&self, mailbox: &Arc<Mailbox>) {
        let mut known = self.lock();
        if known
            .mailboxes
            .get(&mailbox.sid)
            .is_some_and(|found| Arc::ptr_eq(found, mailbox))
        {
            known.mailboxes.remove(&mailbox.sid);
        }
    }

    /// A session moves from polling to a WebSocket, which is its line from here on. A stock client does
    /// so while its token is still being verified.
    fn moved(&self, sid: Sid, line: &Arc<Line>) {
        let mut known = self.lock();
        if let Some(mailbox) = known.mailboxes.get(&sid) {
            mailbox.set_line(Arc::clone(line));
        } else if known.moved.get(&sid).is_none_or(|line| line.is_gone()) {
            known.moved.insert(sid, Arc::clone(line));
        }
    }

    /// A reader's send buffer was full: it misses something from here on, so it has to go.
    fn cannot_keep_up(&self, sid: Sid) {
        if let Some(mailbox) = self.get(sid) {
            mailbox.close(End::Closed(ErrorCode::SlowConsumer));
        }
    }

    fn socket(&self, sid: Sid) -> Option<SocketRef<Rooms>> {
        self.io.get()?.get_socket(sid)
    }

    /// Ends a polling session with its client's own word for it; socketioxide has none (`socket.rs`).
    async fn end_polling(&self, sid: Sid) {
        let close = Request::post(format!("{PATH}/?EIO=4&transport=polling&sid={sid}"));
        if let (Some(engine), Ok(close)) = (self.engine.get(), close.body(Body::from("1"))) {
            // Refused where there is no such session any more, which is as well.
            drop(engine.clone().oneshot(close).await);
        }
    }

    /// Would the next packet find no room in the send buffer?
    fn is_full(&self, sid: Sid) -> bool {
        // A place is reserved before the payload is looked at (socketioxide `operators.rs`), and given back
        // when the payload cannot be written: the question reaches nobody.
        let asked = self.socket(sid).map(|socket| socket.emit("", &Unwritable));
        matches!(
            asked,
            Some(Err(SendError::Socket(SocketError::InternalChannelFull)))
        )
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// From now on nobody is let in, and everybody inside is told to reconnect elsewhere.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        for mailbox in self.lock().mailboxes.values() {
            mailbox.close(End::Closed(ErrorCode::Draining));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("never meant to be written"))
    }
}

/// Builds socketioxide with every limit set; its own defaults are made for trusted clients
/// (64 MiB messages, 10,000 attachments: engineioxide `config.rs`, socketioxide-core `parser.rs`).
pub fn build(limits: &Limits, live: &Arc<Live>) -> (Engine, SocketIo<Rooms>) {
    let frame = limits.message_size + FRAME_OVERHEAD;
    // Attachments are reachable before authentication, and the protocol has none.
    let parser = ParserConfig::common()
        .max_incoming_binaries(0)
        .max_incoming_binary_buf_size(0);
    let builder = SocketIo::builder()
        .ping_interval(limits.ping_interval)
        .ping_timeout(limits.ping_timeout)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_buffer_size(SEND_BUFFER_PACKETS)
        .max_payload(frame as u64)
        .ws_max_message_size(frame)
        .ws_max_frame_size(frame)
        .ws_read_buffer_size(512)
        .with_parser(parser);
    let builder = if limits.polling {
        builder
    } else {
        builder.transports([TransportType::Websocket])
    };
    let (engine, io) = builder
        .with_adapter::<Rooms>(Arc::clone(live))
        .build_with_inner_svc(Router::new());
    // Built twice would be a mistake of the composition; the first ones stay.
    live.io.set(io.clone()).unwrap_or_default();
    live.engine.set(engine.clone()).unwrap_or_default();
    (engine, io)
}

/// Opens the namespace; from here on clients are served.
pub fn open(io: &SocketIo<Rooms>, bridge: &Arc<Bridge>) {
    auth::open_namespace(io, bridge);
}

/// Ends sessions whose socket is gone without a word, until `stop`.
///
/// A close can find no disconnect handler (socketioxide `socket.rs`, `close`); this finds such sessions.
pub async fn audit(io: SocketIo<Rooms>, bridge: Arc<Bridge>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(AUDIT_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let registered: Vec<Arc<Mailbox>> = {
            let mut known = bridge.live.lock();
            // Transports that ended before anybody connected over them.
            known.moved.retain(|_, line| !line.is_gone());
            known.mailboxes.values().cloned().collect()
        };
        for mailbox in registered {
            // Twice unknown: a socket that is just connecting is registered before it is known.
            if io.get_socket(mailbox.sid).is_none() && mailbox.suspect() {
                mailbox.close(End::Gone(CloseReason::Audit));
                bridge.live.remove(&mailbox);
                bridge.metrics.registry_audit_fixed.inc();
            }
        }
        bridge.chats.sweep(bridge.clock.instant());
    }
}
