//! A cable that can be pulled: bytes go through it, or late, or nowhere, or it breaks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    Sound,
    /// Each piece arrives so much later.
    Slow(Duration),
    /// Nothing arrives, nothing breaks: what was under way waits.
    Stalled,
    /// Requests arrive, answers do not: every write is ambiguous.
    Deaf,
    /// Every connection is reset, now and as long as this lasts.
    Broken,
}

pub(crate) struct Proxy {
    pub address: SocketAddr,
    target: SocketAddr,
    cable: Arc<watch::Sender<Cable>>,
    held_up: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    /// Another cable to the same place, at the same port of another address of this machine.
    pub(crate) async fn beside(&self, address: IpAddr) -> Self {
        let address = SocketAddr::new(address, self.address.port());
        Self::at(address, self.target).await
    }

    async fn at(address: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let cable = Arc::new(watch::Sender::new(Cable::Sound));
        let held_up = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&held_up);
        let serving = tokio::spawn(serve(listener, target, Arc::clone(&cable), counter));
        Self {
            address,
            target,
            cable,
            held_up,
            serving,
        }
    }

    /// Requests that came and did not get through: reset at the door, or stalled.
    pub(crate) fn held_up(&self) -> usize {
        self.held_up.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, cable: Cable) {
        self.cable.send_replace(cable);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    cable: Arc<watch::Sender<Cable>>,
    held_up: Arc<AtomicUsize>,
) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let mut state = cable.subscribe();
        let held_up = Arc::clone(&held_up);
        tokio::spawn(async move {
            let now = *state.borrow_and_update();
            if now == Cable::Broken {
                held_up.fetch_add(1, Ordering::SeqCst);
                reset(&near);
                return;
            }
            let Ok(far) = TcpStream::connect(target).await else {
                return reset(&near);
            };
            join(near, far, state, &held_up).await;
        });
    }
}

/// Dropped after this, the connection ends by RST.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().unwrap();
}

async fn join(
    near: TcpStream,
    far: TcpStream,
    mut state: watch::Receiver<Cable>,
    held_up: &AtomicUsize,
) {
    let breaking = {
        let mut state = state.clone();
        async move {
            state
                .wait_for(|cable| *cable == Cable::Broken)
                .await
                .map(drop)
        }
    };
    state.mark_unchanged();
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
        // Whatever ends one side ends the other, and no half-closed pair stays behind.
        reset(stream);
    }
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        _ = breaking => {}
        () = carry(near_in, far_out, state.clone(), Some(held_up)) => {}
        () = carry(far_in, near_out, state, None) => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Cable>,
    requests: Option<&AtomicUsize>,
) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let passes = |cable: &Cable| match cable {
            Cable::Sound | Cable::Slow(_) | Cable::Broken => true,
            Cable::Stalled => false,
            Cable::Deaf => requests.is_some(),
        };
        if let Some(held_up) = requests.filter(|_| !passes(&state.borrow())) {
            held_up.fetch_add(1, Ordering::SeqCst);
        }
        let Ok(now) = state.wait_for(passes).await.map(|cable| *cable) else {
            return;
        };
        if let Cable::Slow(by) = now {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
