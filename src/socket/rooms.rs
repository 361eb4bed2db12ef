//! The delivery groups, and the adapter that knows which reader could not keep up.
//!
//! Room names carry the kind of thing they stand for, so no id can name another kind's room.

use super::Live;
use super::events::ServerEvent;
use crate::domain::ids::{ChatId, UserId};
use crate::telemetry::metrics::{Metrics, Volatile};
use futures_util::FutureExt;
use serde::Serialize;
use socketioxide::BroadcastError;
use socketioxide::adapter::Emitter;
use socketioxide::operators::BroadcastOperators;
use socketioxide_core::Sid;
use socketioxide_core::adapter::errors::SocketError;
use socketioxide_core::adapter::{
    BroadcastFlags, BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, Room,
    SocketEmitter,
};
use socketioxide_core::packet::Packet;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

/// Everybody joined to a chat.
pub(crate) fn chat(chat: &ChatId) -> Room {
    ["c/", chat.as_str()].concat().into()
}

/// The connections of a user who has several; most have one, and no room.
pub(crate) fn user(user: &UserId) -> Room {
    ["u/", user.as_str()].concat().into()
}

/// Everybody who watches a user.
pub(crate) fn watchers(user: &UserId) -> Room {
    ["w/", user.as_str()].concat().into()
}

/// socketioxide's local adapter with an answer to "who missed it?".
///
/// A broadcast reports full send buffers without saying whose, and the message is gone for those. Here
/// they are looked for, and closed as slow consumers: a message is delivered or its reader disconnected,
/// never skipped. A `volatile` emit may be missed, and is queued like the others (the library's own
/// volatile channel costs three times as much, `perf.md` 4).
pub struct Rooms {
    local: CoreLocalAdapter<Emitter>,
    live: Arc<Live>,
}

impl Rooms {
    fn deliver(&self, packet: Packet, opts: BroadcastOptions) {
        let Err(errors) = self.local.broadcast(packet, opts.clone()) else {
            return;
        };
        let missed = errors.iter().filter(|error| is_full(error)).count();
        if missed == 0 {
            return;
        }
        let readers = self.local.sockets(opts);
        let full = readers.iter().filter(|sid| self.live.is_full(**sid));
        let mut gone: Vec<Sid> = full.copied().collect();
        if gone.len() < missed {
            // Somebody's buffer drained in the microseconds since: whoever it was has missed the message,
            // and to be sure of that one all have to go.
            gone = readers;
        }
        for sid in gone {
            self.live.cannot_keep_up(sid);
        }
    }
}

fn is_full(error: &SocketError) -> bool {
    matches!(error, SocketError::InternalChannelFull)
}

impl CoreAdapter<Emitter> for Rooms {
    type Error = Infallible;
    type State = Arc<Live>;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(live: &Self::State, local: CoreLocalAdapter<Emitter>) -> Self {
        Self {
            local,
            live: Arc::clone(live),
        }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) -> Self::InitRes {
        on_success();
    }

    fn broadcast(
        &self,
        packet: Packet,
        mut opts: BroadcastOptions,
    ) -> impl Future<Output = Result<(), BroadcastError>> + Send {
        let volatile = opts.has_flag(BroadcastFlags::Volatile);
        let mut plain = BroadcastOptions::default();
        if opts.has_flag(BroadcastFlags::Broadcast) {
            plain.add_flag(BroadcastFlags::Broadcast);
        }
        plain.rooms = std::mem::take(&mut opts.rooms);
        plain.except = std::mem::take(&mut opts.except);
        plain.sid = opts.sid;
        ready(if volatile {
            self.local
                .broadcast(packet, plain)
                .map_err(BroadcastError::from)
        } else {
            self.deliver(packet, plain);
            Ok(())
        })
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Self::Error> {
        Ok(self.local.broadcast_with_ack(packet, opts, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

impl DefinedAdapter for Rooms {}

/// Emits to everybody selected. Each gets it, or is closed as a slow consumer.
pub(crate) fn relay(to: BroadcastOperators<Rooms>, event: ServerEvent, payload: &impl Serialize) {
    // The adapter answers at once; a future that is not ready here would be a change of ours.
    to.emit(event, payload).now_or_never();
}

/// Emits what a slow reader may miss; what was missed is counted.
pub(crate) fn relay_volatile(
    to: BroadcastOperators<Rooms>,
    (event, kind): (ServerEvent, Volatile),
    payload: &impl Serialize,
    metrics: &Metrics,
) {
    if let Some(Err(BroadcastError::Socket(errors))) =
        to.volatile().emit(event, payload).now_or_never()
    {
        let missed = errors.iter().filter(|e| is_full(e)).count() as u64;
        if missed > 0 {
            metrics
                .volatile_dropped
                .get_or_create(&kind.into())
                .inc_by(missed);
        }
    }
}
