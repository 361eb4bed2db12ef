//! The composition root: from settings to listeners and tasks. The only files that know everyone.
//!
//! [`start`] lays the [`Ground`], `firebase.rs` plugs in Google's side, `front.rs` opens the doors.

pub mod dev;
mod firebase;
mod front;
#[cfg(feature = "sabotage")]
mod sabotage;

use crate::clock::Clock;
use crate::config::{Config, OnDrain};
use crate::http::health::{Condition, Health};
use crate::services::access::OpenAccess;
use crate::services::messages::Messages;
use crate::services::mirror::{Drained, Standing};
use crate::services::ports::{Announce, Verify};
use crate::services::presence::{Adopted, Outside, Presence, PresenceHandle};
use crate::services::typing::Typing;
use crate::socket::mailbox::Mailbox;
use crate::socket::presence::Announcer;
use crate::socket::rooms::Rooms;
use crate::socket::{self, Bridge, Live};
use crate::store::chats::Chats;
use crate::store::connections::Connections;
use crate::telemetry::logs::DroppedLines;
use crate::telemetry::metrics::{Metrics, Outcome};
use axum::Router;
use socketioxide::SocketIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Of the drain timeout, the part that sessions may take; the rest belongs to the last flush.
const SESSIONS_SHARE: f64 = 0.5;
/// Of the drain timeout, what is left unused so that the process is gone in time.
const MARGIN: Duration = Duration::from_millis(500);

/// What the process brings along besides its settings.
#[derive(Default)]
pub struct Surroundings {
    pub clock: Clock,
    /// Served beside Socket.IO.
    pub page: Router,
    pub dropped_lines: Option<DroppedLines>,
}

/// A bridge that serves. [`Running::drain`] is its orderly end.
pub struct Running {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    ground: Ground,
    bridge: Arc<Bridge>,
    /// Ends the public listener.
    close: CancellationToken,
    /// Tells the mirror to flush what is left and end.
    flush: CancellationToken,
    mirroring: JoinHandle<Drained>,
    standing: watch::Receiver<Standing>,
    drain_timeout: Duration,
    on_drain: OnDrain,
}

/// What everything stands on.
struct Ground {
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Ends the background tasks.
    stop: CancellationToken,
    tasks: TaskTracker,
    #[cfg(feature = "sabotage")]
    sabotage: sabotage::Sabotage,
}

impl Ground {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            metrics: Arc::new(Metrics::new()),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            #[cfg(feature = "sabotage")]
            sabotage: sabotage::Sabotage::default(),
        }
    }

    fn announcer(
        &self,
        io: &SocketIo<Rooms>,
        connections: &Arc<Connections<Arc<Mailbox>>>,
    ) -> Arc<dyn Announce> {
        Arc::new(Announcer {
            io: io.clone(),
            connections: Arc::clone(connections),
            metrics: Arc::clone(&self.metrics),
        })
    }

    /// Runs a task that minds the stop by itself.
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Runs a task that knows no end.
    fn run_until_stop(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { stop.run_until_cancelled(task).await });
    }
}

/// Starts everything; returns when clients are accepted. Call it inside a tokio runtime.
pub fn start(config: &Config, around: Surroundings) -> anyhow::Result<Running> {
    let listeners = front::Listeners::bind(config)?;
    let ground = Ground::new(around.clock.clone());
    #[cfg(feature = "sabotage")]
    let (ref config, ground) = sabotage::of_process(config, ground, &listeners)?;
    compose(config, ground, listeners, around)
}

fn compose(
    config: &Config,
    ground: Ground,
    listeners: front::Listeners,
    around: Surroundings,
) -> anyhow::Result<Running> {
    let live = Arc::new(Live::default());
    let health = Health::default().with(draining(&live));
    let (verify, health) = firebase::identity(config, &ground, health)?;
    let (mirror, health) = firebase::mirror(config, &ground, health)?;
    let flush = CancellationToken::new();
    let mirroring = tokio::spawn(mirror.task.run(flush.clone()));

    let (engine, io) = socket::build(&front::limits(config), &live);
    let connections = Arc::new(Connections::new(config.limit_connections_per_user));
    let announce = ground.announcer(&io, &connections);
    let chats = Arc::new(Chats::default());
    let outside = Outside {
        chats: Arc::clone(&chats),
        announce: Arc::clone(&announce),
        mirror: mirror.handle,
        clock: ground.clock.clone(),
        metrics: Arc::clone(&ground.metrics),
        max_room: config.presence_max_room,
    };
    let presence = presence(config, &ground, mirror.adopted, outside);
    let typing = typing(config, &ground, announce);
    let parts = Parts {
        verify,
        presence,
        typing,
        connections,
        chats,
        live,
    };
    let bridge = Arc::new(bridge(config, &ground, parts));
    socket::open(&io, &bridge);
    let audit = socket::audit(io, Arc::clone(&bridge), ground.stop.clone());
    #[cfg(feature = "sabotage")]
    let audit = ground.sabotage.clone().audit(audit);
    ground.run(audit);

    let close = CancellationToken::new();
    let (public, admin) = listeners.addresses()?;
    let doors = front::Doors {
        engine,
        page: around.page,
        health,
        dropped_lines: around.dropped_lines,
    };
    listeners.open(
        config,
        &ground,
        (doors, Arc::clone(&bridge.live)),
        close.clone(),
    );
    Ok(Running {
        public,
        admin,
        ground,
        bridge,
        close,
        flush,
        mirroring,
        standing: mirror.standing,
        drain_timeout: config.drain_timeout,
        on_drain: config.presence_on_drain,
    })
}

fn draining(live: &Arc<Live>) -> impl Fn() -> Condition + Send + Sync + use<> {
    let live = Arc::clone(live);
    move || {
        if live.is_draining() {
            Condition::NotReady("draining")
        } else {
            Condition::Well
        }
    }
}

fn presence(
    config: &Config,
    ground: &Ground,
    adopted: mpsc::Receiver<Adopted>,
    outside: Outside,
) -> PresenceHandle {
    #[cfg(feature = "sabotage")]
    let adopted = ground.sabotage.adopted(adopted);
    let graces = (config.presence_grace, config.presence_start_grace);
    let (presence, handle) = Presence::new(graces, adopted, outside);
    ground.run(presence.run(ground.stop.clone()));
    handle
}

fn typing(config: &Config, ground: &Ground, announce: Arc<dyn Announce>) -> Arc<Typing> {
    let typing = Typing::new(
        config.typing_ttl,
        ground.clock.clone(),
        Arc::clone(&ground.metrics),
    );
    let typing = Arc::new(typing);
    ground.run({
        let (typing, stop) = (Arc::clone(&typing), ground.stop.clone());
        async move { typing.run(&*announce, stop).await }
    });
    typing
}

/// What goes into the bridge.
struct Parts {
    verify: Arc<dyn Verify>,
    presence: PresenceHandle,
    typing: Arc<Typing>,
    connections: Arc<Connections<Arc<Mailbox>>>,
    chats: Arc<Chats>,
    live: Arc<Live>,
}

fn bridge(config: &Config, ground: &Ground, parts: Parts) -> Bridge {
    tracing::warn!("CHAT_ACCESS=open: every signed-in user may join every chat whose id they know");
    let events = &ground.metrics.events;
    Bridge {
        verify: parts.verify,
        access: Arc::new(OpenAccess),
        presence: parts.presence,
        typing: parts.typing,
        messages: Messages::default(),
        connections: parts.connections,
        chats: parts.chats,
        live: parts.live,
        sessions: TaskTracker::new(),
        clock: ground.clock.clone(),
        metrics: Arc::clone(&ground.metrics),
        accepted: events.get_or_create_owned(&Outcome::Ok.into()),
        refused: events.get_or_create_owned(&Outcome::Refused.into()),
        limits: front::limits(config),
    }
}

impl Running {
    pub fn metrics(&self) -> &Metrics {
        &self.ground.metrics
    }

    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// Returns when another process has taken over presence: this one should drain.
    pub async fn deposed(&self) {
        let mut standing = self.standing.clone();
        if standing
            .wait_for(|standing| standing.deposed)
            .await
            .is_err()
        {
            // The mirror has ended without it.
            std::future::pending::<()>().await;
        }
    }

    /// Not ready, nobody new, everybody told to reconnect, the truth flushed: in this order, within the drain timeout.
    pub async fn drain(self) {
        let Self {
            bridge,
            close,
            ground,
            flush,
            mirroring,
            standing,
            ..
        } = self;
        bridge.live.drain();
        close.cancel();
        bridge.sessions.close();
        if tokio::time::timeout(sessions_budget(self.drain_timeout), bridge.sessions.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                sessions = bridge.sessions.len(),
                "sessions did not end in time"
            );
        }
        match self.on_drain {
            _ if standing.borrow().deposed => bridge.presence.settled().await,
            OnDrain::Offline => bridge.presence.end_graces().await,
            OnDrain::Handover => bridge.presence.settled().await,
        }
        flush.cancel();
        match mirroring.await {
            Ok(Drained { unwritten: 0 }) => tracing::info!("drained"),
            Ok(Drained { unwritten }) => {
                tracing::error!(unwritten, "drained, but the database is behind");
            }
            Err(error) => tracing::error!(%error, "the mirror broke"),
        }
        ground.stop.cancel();
        ground.tasks.close();
        ground.tasks.wait().await;
    }
}

/// Of the drain timeout, what sessions may take to say goodbye.
fn sessions_budget(drain_timeout: Duration) -> Duration {
    drain_timeout.saturating_sub(MARGIN).mul_f64(SESSIONS_SHARE)
}

/// Of the drain timeout, what the last flush may take.
fn flush_budget(drain_timeout: Duration) -> Duration {
    drain_timeout
        .saturating_sub(MARGIN)
        .mul_f64(1.0 - SESSIONS_SHARE)
}
