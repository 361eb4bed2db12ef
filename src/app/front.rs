//! The doors to the outside: Socket.IO and health for everybody, metrics for operators.

use super::Ground;
use crate::config::{Config, CorsOrigins, Transport};
use crate::domain::quota::Quota;
use crate::http::health::Health;
use crate::server::Terms;
use crate::socket::door::{Door, Origins};
use crate::socket::{Engine, Limits, Live};
use crate::telemetry::logs::DroppedLines;
use crate::{http, server};
use anyhow::Context;
use axum::Router;
use axum::http::{HeaderValue, Method, header};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// For operators.
const ADMIN: Terms = Terms {
    places: 64,
    patience: Duration::from_secs(30),
};

/// Bound before anything else, so that a port that is taken is the first thing said.
pub(super) struct Listeners {
    pub(super) public: TcpListener,
    pub(super) admin: TcpListener,
}

/// What is behind the listeners.
pub(super) struct Doors {
    pub(super) engine: Engine,
    pub(super) page: Router,
    pub(super) health: Health,
    pub(super) dropped_lines: Option<DroppedLines>,
}

impl Listeners {
    pub(super) fn bind(config: &Config) -> anyhow::Result<Self> {
        let (host, port, admin) = (config.host, config.port, config.admin_listen);
        Ok(Self {
            public: server::bind(SocketAddr::new(host, port))
                .with_context(|| format!("cannot listen on HOST={host} PORT={port}"))?,
            admin: server::bind(admin)
                .with_context(|| format!("cannot listen on ADMIN_LISTEN={admin}"))?,
        })
    }

    /// Public and admin.
    pub(super) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.public.local_addr()?, self.admin.local_addr()?))
    }

    /// Serves; the public side until `close`, the admin side until the bridge stops.
    pub(super) fn open(
        self,
        config: &Config,
        ground: &Ground,
        (doors, live): (Doors, Arc<Live>),
        close: CancellationToken,
    ) {
        let health = Arc::new(doors.health);
        let door = Door {
            origins: Arc::new(origins(&config.cors_origins)),
            live,
        };
        let public = http::public(Arc::clone(&health))
            .merge(doors.page)
            .fallback_service(doors.engine)
            .layer(door)
            .layer(cors(&config.cors_origins));
        let admin = http::admin(health, Arc::clone(&ground.metrics), doors.dropped_lines);
        let terms = terms(config);
        #[cfg(feature = "sabotage")]
        let terms = ground.sabotage.terms(terms);
        let metrics = Arc::clone(&ground.metrics);
        let serving = server::serve(self.public, public, terms, metrics, close);
        ground.run("public listener", serving);
        // The operators' own connections are not among those that they look at.
        let metrics = Arc::default();
        let stop = ground.stop.clone();
        let serving = server::serve(self.admin, admin, ADMIN, metrics, stop);
        ground.run("admin listener", serving);
    }
}

/// Whoever has not said a word for a ping's whole turn is gone: even a pong is one.
fn terms(config: &Config) -> Terms {
    Terms {
        places: server::connection_limit(config.limit_connections),
        patience: config.ping_interval + config.ping_timeout,
    }
}

pub(super) fn limits(config: &Config) -> Limits {
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
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE])
}
