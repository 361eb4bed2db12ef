//! The handshake: who connects, and what is set up before the client may speak.

use super::events::{ErrorCode, Handshake};
use super::line::Line;
use super::mailbox::{End, Envelope, Mailbox};
use super::rooms::Rooms;
use super::session::Session;
use super::term::Term;
use super::{Bridge, Live};
use crate::domain::ids::UserId;
use crate::services::ports::VerifyError;
use crate::telemetry::metrics::{AuthOutcome, CloseReason, Metrics};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, SocketRef, TryData};
use socketioxide::handler::{ConnectHandler, DisconnectHandler, FromMessageParts, MessageHandler};
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide_core::Value;
use std::sync::Arc;

/// Refused handshakes on one connection before it is hung up.
const MAX_REFUSALS: u8 = 3;

pub(super) fn open_namespace(io: &SocketIo<Rooms>, bridge: &Arc<Bridge>) {
    let admission = Arc::clone(bridge);
    let admit = move |socket: SocketRef<Rooms>, TryData(handshake): TryData<Handshake>| {
        let bridge = Arc::clone(&admission);
        // Only the token leaves this line; the rest of the payload is the client's fancy.
        let token = handshake.ok().map(|handshake| handshake.token);
        async move { admit(&bridge, &socket, token).await }
    };
    let bridge = Arc::clone(bridge);
    let connected = move |socket: SocketRef<Rooms>| {
        let bridge = Arc::clone(&bridge);
        async move {
            match bridge.live.get(socket.id) {
                Some(mailbox) => {
                    let sessions = bridge.sessions.clone();
                    sessions
                        .track_future(Session::run(bridge, socket, mailbox))
                        .await;
                }
                // Ended before it began; without a session it must not stay connected.
                None => socket.disconnect().unwrap_or_default(),
            }
        }
    };
    io.ns("/", connected.with(admit));
}

/// Verifies the token and registers everything the socket needs, all before CONNECT is answered: an
/// event sent right after it finds its handler (socketioxide answers before the connect handler runs: `ns.rs`).
async fn admit(
    bridge: &Bridge,
    socket: &SocketRef<Rooms>,
    token: Option<String>,
) -> Result<(), ErrorCode> {
    let line = socket.req_parts().extensions.get::<Arc<Line>>();
    if line.is_some_and(|line| line.refusals() >= MAX_REFUSALS) {
        return Err(ErrorCode::RateLimited);
    }
    if bridge.live.is_draining() {
        return Err(ErrorCode::Draining);
    }
    let verified = match token {
        Some(token) => bridge.verify.verify(&token).await,
        None => Err(VerifyError::Invalid),
    };
    let identity = verified.map_err(|error| {
        if let Some(line) = line {
            line.refuse();
        }
        refusal(error, &bridge.metrics)
    })?;
    bridge
        .metrics
        .auth
        .get_or_create(&AuthOutcome::Ok.into())
        .inc();
    let term = Term::of(&identity, bridge.limits.auth_leeway, bridge.clock.now());
    register(&bridge.live, socket, identity.user, term);
    // Draining may have begun while the token was verified: then nobody told this mailbox.
    if bridge.live.is_draining() {
        bridge.live.remove(socket.id);
        return Err(ErrorCode::Draining);
    }
    Ok(())
}

fn refusal(error: VerifyError, metrics: &Metrics) -> ErrorCode {
    let (outcome, code) = match error {
        VerifyError::Expired => (AuthOutcome::Expired, ErrorCode::TokenExpired),
        VerifyError::Invalid => (AuthOutcome::Invalid, ErrorCode::Unauthorized),
        VerifyError::Unavailable => (AuthOutcome::Unavailable, ErrorCode::Unavailable),
    };
    metrics.auth.get_or_create(&outcome.into()).inc();
    code
}

fn register(live: &Live, socket: &SocketRef<Rooms>, user: UserId, term: Term) {
    let mailbox = Arc::new(Mailbox::new(user, term, socket.id));
    if socket.transport_type() == socketioxide::TransportType::Websocket
        && let Some(line) = socket.req_parts().extensions.get::<Arc<Line>>()
    {
        mailbox.set_line(Arc::clone(line));
    }
    socket.on_fallback(Inbox(Arc::clone(&mailbox)));
    socket.on_disconnect(Inbox(Arc::clone(&mailbox)));
    live.insert(socket.id, mailbox);
}

/// Takes every event of one socket, whatever its name, in packet order and without a task for each.
///
/// socketioxide spawns the futures of handler closures, which loses their order (`handler/message.rs`);
/// a handler of one's own kind is just called.
struct Inbox(Arc<Mailbox>);

/// Tells [`Inbox`]'s implementations from those for closures.
enum InPacketOrder {}

impl MessageHandler<Rooms, InPacketOrder> for Inbox {
    fn call(&self, socket: Arc<Socket<Rooms>>, mut value: Value, ack_id: Option<i64>) {
        let Ok(ack) = AckSender::from_message_parts(&socket, &mut value, &ack_id);
        if let Value::Str(frame, _) = value {
            self.0.push(Envelope {
                frame,
                ack,
                wants_ack: ack_id.is_some(),
            });
        }
    }
}

impl DisconnectHandler<Rooms, InPacketOrder> for Inbox {
    fn call_with_defer(
        &self,
        socket: Arc<Socket<Rooms>>,
        reason: DisconnectReason,
        defer: fn(Arc<Socket<Rooms>>),
    ) {
        let left = matches!(
            reason,
            DisconnectReason::ClientNSDisconnect | DisconnectReason::TransportClose
        );
        let reason = if left {
            CloseReason::Client
        } else {
            CloseReason::Transport
        };
        self.0.close(End::Gone(reason));
        defer(socket);
    }
}
