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
use events::ErrorCode;
use mailbox::{End, Mailbox};
use prometheus_client::metrics::counter::Counter;
use rooms::Rooms;
use serde::ser::{Error as _, Serialize, Serializer};
use socketioxide::extract::SocketRef;
use socketioxide::layer::SocketIoLayer;
use socketioxide::{ParserConfig, SendError, SocketError, SocketIo, TransportType};
use socketioxide_core::Sid;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    mailboxes: Mutex<HashMap<Sid, Arc<Mailbox>>>,
    draining: AtomicBool,
    last_connection: AtomicU64,
    /// Set once, when it is built.
    io: OnceLock<SocketIo<Rooms>>,
}

impl Live {
    fn insert(&self, sid: Sid, mailbox: Arc<Mailbox>) {
        self.lock().insert(sid, mailbox);
    }

    fn get(&self, sid: Sid) -> Option<Arc<Mailbox>> {
        self.lock().get(&sid).cloned()
    }

    fn remove(&self, sid: Sid) {
        self.lock().remove(&sid);
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
        for mailbox in self.lock().values() {
            mailbox.close(End::Closed(ErrorCode::Draining));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sid, Arc<Mailbox>>> {
        self.mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
pub fn build(limits: &Limits, live: &Arc<Live>) -> (SocketIoLayer<Rooms>, SocketIo<Rooms>) {
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
    let (layer, io) = builder
        .with_adapter::<Rooms>(Arc::clone(live))
        .build_layer();
    // Built twice would be a mistake of the composition; the first one stays.
    live.io.set(io.clone()).unwrap_or_default();
    (layer, io)
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
        let registered: Vec<(Sid, Arc<Mailbox>)> = bridge
            .live
            .lock()
            .iter()
            .map(|(sid, mailbox)| (*sid, Arc::clone(mailbox)))
            .collect();
        for (sid, mailbox) in registered {
            // Twice unknown: a socket that is just connecting is registered before it is known.
            if io.get_socket(sid).is_none() && mailbox.suspect() {
                mailbox.close(End::Gone(CloseReason::Audit));
                bridge.live.remove(sid);
                bridge.metrics.registry_audit_fixed.inc();
            }
        }
        bridge.chats.sweep(bridge.clock.instant());
    }
}
