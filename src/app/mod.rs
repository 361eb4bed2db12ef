//! The composition root: from settings to listeners and tasks. The only file that knows everyone.

pub mod dev;
mod firebase;

use crate::clock::Clock;
use crate::config::{Config, CorsOrigins, OnDrain, Transport};
use crate::domain::quota::Quota;
use crate::http::health::{Condition, Health};
use crate::services::access::OpenAccess;
use crate::services::messages::Messages;
use crate::services::mirror::{Drained, Standing};
use crate::services::ports::Announce;
use crate::services::presence::{Outside, Presence};
use crate::services::typing::Typing;
use crate::socket::door::{Door, Origins};
use crate::socket::presence::Announcer;
use crate::socket::{self, Bridge, Limits, Live};
use crate::store::chats::Chats;
use crate::store::connections::Connections;
use crate::telemetry::logs::DroppedLines;
use crate::telemetry::metrics::Metrics;
use crate::{http, server};
use anyhow::Context;
use axum::Router;
use axum::http::HeaderValue;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Of the drain timeout, the part that sessions may take; the rest belongs to the last flush.
const SESSIONS_SHARE: f64 = 0.5;
/// Of the drain timeout, what is left unused so that the process is gone in time.
const MARGIN: Duration = Duration::from_millis(500);

/// A bridge that serves. [`Running::drain`] is its orderly end.
pub struct Running {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub metrics: Arc<Metrics>,
    bridge: Arc<Bridge>,
    /// Ends the public listener.
    close: CancellationToken,
    /// Ends the background tasks.
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Tells the mirror to flush what is left and end.
    flush: CancellationToken,
    mirroring: JoinHandle<Drained>,
    standing: watch::Receiver<Standing>,
    drain_timeout: Duration,
    on_drain: OnDrain,
}

/// What the process brings along besides its settings.
#[derive(Default)]
pub struct Surroundings {
    pub clock: Clock,
    /// Served beside Socket.IO.
    pub page: Router,
    pub dropped_lines: Option<DroppedLines>,
}

/// Starts everything; returns when clients are accepted.
pub async fn start(config: &Config, around: Surroundings) -> anyhow::Result<Running> {
    let Surroundings {
        clock,
        page,
        dropped_lines,
    } = around;
    let metrics = Arc::new(Metrics::new());
    let (close, stop, tasks) = (
        CancellationToken::new(),
        CancellationToken::new(),
        TaskTracker::new(),
    );
    let background = Background {
        stop: stop.clone(),
        tasks: tasks.clone(),
    };

    let limits = limits(config);
    let live = Arc::new(Live::default());
    let (engine, io) = socket::build(&limits, &live);
    let announce: Arc<dyn Announce> = Arc::new(Announcer {
        io: io.clone(),
        metrics: Arc::clone(&metrics),
    });
    let health = Health::default().with({
        let live = Arc::clone(&live);
        move || {
            if live.is_draining() {
                Condition::NotReady("draining")
            } else {
                Condition::Well
            }
        }
    });
    let (verify, health) = firebase::identity(config, &clock, &metrics, &background, health)?;
    let (adopt, adopted) = mpsc::channel(1);
    let (mirror, standing, mirror_task, health) =
        firebase::mirror(config, &clock, &metrics, adopt, health)?;
    let flush = CancellationToken::new();
    let mirroring = tokio::spawn(mirror_task.run(flush.clone()));
    let typing = Arc::new(Typing::new(
        config.typing_ttl,
        clock.clone(),
        Arc::clone(&metrics),
    ));
    let chats = Arc::new(Chats::default());
    let (presence, presence_handle) = Presence::new(
        config.presence_grace,
        config.presence_start_grace,
        adopted,
        Outside {
            chats: Arc::clone(&chats),
            announce: Arc::clone(&announce),
            mirror,
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            max_room: config.presence_max_room,
        },
    );
    background.run(presence.run(stop.clone()));
    background.run({
        let (typing, announce, stop) = (Arc::clone(&typing), Arc::clone(&announce), stop.clone());
        async move { typing.run(&*announce, stop).await }
    });

    tracing::warn!("CHAT_ACCESS=open: every signed-in user may join every chat whose id they know");
    let bridge = Arc::new(Bridge {
        verify,
        access: Arc::new(OpenAccess),
        presence: presence_handle,
        typing,
        messages: Messages::default(),
        connections: Connections::new(config.limit_connections_per_user),
        chats,
        live: Arc::clone(&live),
        sessions: TaskTracker::new(),
        clock,
        metrics: Arc::clone(&metrics),
        limits,
    });
    socket::open(&io, &bridge);
    background.run(socket::audit(io, Arc::clone(&bridge), stop.clone()));

    let health = Arc::new(health);
    let public = server::bind(SocketAddr::new(config.host, config.port))
        .with_context(|| format!("cannot listen on HOST={} PORT={}", config.host, config.port))?;
    let admin = server::bind(config.admin_listen)
        .with_context(|| format!("cannot listen on ADMIN_LISTEN={}", config.admin_listen))?;
    let running = Running {
        public: public.local_addr()?,
        admin: admin.local_addr()?,
        metrics: Arc::clone(&metrics),
        bridge,
        close: close.clone(),
        stop: stop.clone(),
        tasks,
        flush,
        mirroring,
        standing,
        drain_timeout: config.drain_timeout,
        on_drain: config.presence_on_drain,
    };
    let door = Door {
        origins: Arc::new(origins(&config.cors_origins)),
        live,
    };
    let routes = http::public(Arc::clone(&health)).merge(page);
    let routes = routes
        .layer(engine)
        .layer(door)
        .layer(cors(&config.cors_origins));
    let places = server::connection_limit(config.limit_connections);
    background.run(server::serve(
        public,
        routes,
        places,
        Arc::clone(&metrics),
        close,
    ));
    background.run(server::serve(
        admin,
        http::admin(health, Arc::clone(&metrics), dropped_lines),
        ADMIN_PLACES,
        metrics,
        stop,
    ));
    Ok(running)
}

/// Open connections on the admin listener.
const ADMIN_PLACES: usize = 64;

impl Running {
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
            std::future::pending().await
        }
    }

    /// Not ready, nobody new, everybody told to reconnect, the truth flushed: in this order, within the drain timeout.
    pub async fn drain(self) {
        let Self {
            bridge,
            close,
            stop,
            tasks,
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
                tracing::error!(unwritten, "drained, but the database is behind")
            }
            Err(error) => tracing::error!(%error, "the mirror broke"),
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
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

/// Tasks that live as long as the bridge.
struct Background {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Background {
    /// Runs a task to its end or to the stop of the bridge, whichever it minds.
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

fn limits(config: &Config) -> Limits {
    Limits {
        message_size: config.limit_message_size,
        chats_per_connection: config.limit_chats_per_connection,
        watched_users: config.limit_watched_users,
        quota: Quota {
            per_second: config.limit_events_per_second,
            burst: config.limit_events_per_second.saturating_mul(2),
        },
        presence_max_room: config.presence_max_room,
        presence_grace: config.presence_grace,
        auth_leeway: config.auth_leeway,
        expiry_notice: config.auth_expiry_notice,
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        polling: config.transports.contains(&Transport::Polling),
    }
}

fn origins(allowed: &CorsOrigins) -> Origins {
    match allowed {
        CorsOrigins::Any => Origins::Any,
        CorsOrigins::Only(origins) => Origins::Only(origins.iter().cloned().collect()),
    }
}

/// Browsers ask before they poll; a WebSocket's origin is checked at the door.
fn cors(allowed: &CorsOrigins) -> CorsLayer {
    let origins = match allowed {
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::Only(origins) => AllowOrigin::list(
            origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok()),
        ),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([axum::http::Method::GET, axum::http::Method::POST])
        .allow_headers([axum::http::header::CONTENT_TYPE])
}
