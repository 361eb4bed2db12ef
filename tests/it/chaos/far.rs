//! The far end of a cable that can be pulled: a network namespace where this user may make one, else
//! whatever is behind a proxy. Only the first is half open in earnest: a proxy's system acknowledges
//! what comes, until its buffers are full.

use super::figures::say;
use super::is_full;
use super::namespace::Namespace;
use super::proxy::{Cable, Proxy};
use std::net::SocketAddr;
use tokio::net::TcpStream;

pub(crate) enum Far {
    Namespace(Namespace, u16),
    Proxy(Proxy),
}

impl Far {
    /// An end from which a bridge is reached that listens on every address of this machine.
    pub(crate) async fn from(bridge: SocketAddr) -> Self {
        let denied = match Namespace::open() {
            Ok(namespace) => return Self::Namespace(namespace, bridge.port()),
            Err(denied) => denied,
        };
        assert!(
            !is_full(),
            "{denied} (the published figures need root: sudo -E scripts/reliability)"
        );
        say(&format!(
            "{denied}: the cable is a proxy instead (sudo -E scripts/test binary)\n"
        ));
        Self::Proxy(Proxy::to(SocketAddr::from(([127, 0, 0, 1], bridge.port()))).await)
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        match self {
            Self::Namespace(namespace, port) => namespace.connect(*port).await,
            Self::Proxy(proxy) => TcpStream::connect(proxy.address).await.unwrap(),
        }
    }

    /// From now on nothing gets through, and nobody is told.
    pub(crate) fn pull(&self) {
        match self {
            Self::Namespace(namespace, _) => namespace.pull(),
            Self::Proxy(proxy) => proxy.set(Cable::Stalled),
        }
    }
}
