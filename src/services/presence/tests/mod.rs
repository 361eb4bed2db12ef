//! The owner of the truth in paused time; whom it tells is recorded.

mod standstill;
mod telling;

use super::*;
use std::sync::{Mutex, PoisonError};
use tokio::time::sleep;

/// Ten and thirty turns.
const GRACE: Duration = Duration::from_secs(10);
const START_GRACE: Duration = Duration::from_secs(30);
const PHONE: ConnectionId = ConnectionId(1);
/// Transitions that may wait for the mirror.
const MIRRORED: u64 = 128;

#[derive(Default)]
struct Heard(Mutex<Vec<(UserId, Visible)>>);

impl Heard {
    fn take(&self) -> Vec<(UserId, Visible)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Announce for Heard {
    fn presence(&self, user: &UserId, visible: Visible, _: &[ChatId]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push((user.clone(), visible));
    }

    fn stop_typing(&self, _: &ChatId, _: &UserId) {}
}

struct Bench {
    handle: PresenceHandle,
    chats: Arc<Chats>,
    heard: Arc<Heard>,
    adopt: mpsc::Sender<Adopted>,
    /// What the mirror was told.
    wanted: mpsc::Receiver<(UserId, Record)>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn start() -> Self {
        Self::with(PATIENCE)
    }

    fn with(patience: Duration) -> Self {
        let (clock, metrics) = (Clock::manual(UnixMillis(1_000)), Arc::new(Metrics::new()));
        let chats = Arc::new(Chats::default());
        let (adopt, adopted) = mpsc::channel(1);
        let heard = Arc::new(Heard::default());
        let (mirror, wanted) = mpsc::channel(usize::try_from(MIRRORED).unwrap());
        let outside = Outside {
            chats: Arc::clone(&chats),
            announce: Arc::clone(&heard) as Arc<dyn Announce>,
            mirror: MirrorHandle(mirror),
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            max_room: 500,
        };
        let (mut presence, handle) = Presence::new((GRACE, START_GRACE), adopted, outside);
        presence.patience = patience;
        tokio::spawn(presence.run(CancellationToken::new()));
        Self {
            handle,
            chats,
            heard,
            adopt,
            wanted,
            clock,
            metrics,
        }
    }

    async fn comes(&self, user: &UserId, connection: u64) {
        let connection = ConnectionId(connection);
        let now = self.clock.now();
        self.handle.connected(user, connection, now).await;
    }

    async fn goes(&self, user: &UserId, connection: u64) {
        let connection = ConnectionId(connection);
        let now = self.clock.now();
        self.handle.disconnected(user, connection, now).await;
    }

    /// Ann was here, and left.
    async fn was_here(&self) {
        let (ann, now) = (ann(), self.clock.now());
        self.handle.connected(&ann, PHONE, now).await;
        self.chats.join(&ann, &chat(), now.instant, 0);
        let until = now.instant + GRACE;
        self.chats.linger(&ann, vec![chat()], now.instant, until);
        self.handle.disconnected(&ann, PHONE, now).await;
        self.handle.settled().await;
    }

    async fn adopts(&self, last_seen: u64) {
        let found = vec![(ann(), UnixMillis(last_seen))];
        self.adopt.send(found).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }

    async fn is_online(&self) -> bool {
        self.handle.look(vec![ann()]).await == [Visible::Online]
    }

    /// The times of the departures that the mirror was told since.
    fn departures(&mut self) -> Vec<UnixMillis> {
        let wanted = std::iter::from_fn(|| self.wanted.try_recv().ok());
        let offline = wanted.filter(|(_, record)| !record.online);
        offline.map(|(_, record)| record.last_seen).collect()
    }
}

fn ann() -> UserId {
    UserId::parse("ann").unwrap()
}

fn chat() -> ChatId {
    ChatId::parse("x").unwrap()
}
