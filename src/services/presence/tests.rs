//! The owner of the truth in paused time; whom it tells is recorded.

use super::*;
use std::sync::{Mutex, PoisonError};

const GRACE: Duration = Duration::from_secs(10);
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

/// The owner at work, its ears and the mirror's queue.
struct Scene {
    handle: PresenceHandle,
    clock: Clock,
    heard: Arc<Heard>,
    mirrored: mpsc::Receiver<(UserId, Record)>,
    metrics: Arc<Metrics>,
    _adopt: mpsc::Sender<Adopted>,
}

impl Scene {
    fn new() -> Self {
        let clock = Clock::manual(UnixMillis(1_900_000_000_000));
        let heard = Arc::new(Heard::default());
        let metrics = Arc::new(Metrics::new());
        let (queue, mirrored) = mpsc::channel(usize::try_from(MIRRORED).unwrap());
        let (adopt, adopted) = mpsc::channel(1);
        let outside = Outside {
            chats: Arc::default(),
            announce: Arc::clone(&heard) as Arc<dyn Announce>,
            mirror: MirrorHandle::to(queue),
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            max_room: 500,
        };
        let (presence, handle) = Presence::new((GRACE, GRACE), adopted, outside);
        tokio::spawn(presence.run(CancellationToken::new()));
        Self {
            handle,
            clock,
            heard,
            mirrored,
            metrics,
            _adopt: adopt,
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
}

fn user(n: u64) -> UserId {
    UserId::parse(&format!("u{n}")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_transition_is_told_once_to_the_people_and_once_to_the_mirror() {
    let mut scene = Scene::new();
    let (came, went) = (UnixMillis(1_900_000_000_000), UnixMillis(1_900_000_005_000));
    scene.comes(&user(1), 1).await;
    scene.comes(&user(1), 2).await;
    scene.goes(&user(1), 1).await;
    scene.clock.set_unix(went);
    scene.goes(&user(1), 2).await;
    scene.goes(&user(1), 2).await;
    scene.handle.settled().await;
    tokio::time::sleep(GRACE * 2).await;
    let offline = Visible::Offline {
        last_seen: Some(went),
    };
    assert_eq!(
        scene.heard.take(),
        [(user(1), Visible::Online), (user(1), offline)]
    );
    for (online, last_seen) in [(true, came), (false, went)] {
        let record = Record { online, last_seen };
        assert_eq!(scene.mirrored.try_recv(), Ok((user(1), record)));
    }
    assert!(scene.mirrored.is_empty());
    assert_eq!(scene.handle.look(vec![user(1)]).await, [offline]);
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_in_time_that_waited_for_the_mirror_is_silent() {
    const USERS: u64 = 64;
    let mut scene = Scene::new();
    for n in 0..USERS {
        scene.comes(&user(n), n).await;
        scene.goes(&user(n), n).await;
    }
    // The mirror takes no more, and the owner waits for it.
    for n in USERS..=MIRRORED {
        scene.comes(&user(n), n).await;
    }
    tokio::time::sleep(GRACE / 2).await;
    for n in 0..USERS {
        scene.comes(&user(n), MIRRORED + 1 + n).await;
    }
    tokio::time::sleep(GRACE).await;
    scene.heard.take();
    while scene.mirrored.try_recv().is_ok() {}
    scene.handle.settled().await;
    assert_eq!(scene.heard.take(), []);
    assert_eq!(scene.metrics.presence_absorbed.get(), USERS);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_a_successor_ends_every_grace() {
    let scene = Scene::new();
    for n in 0..3 {
        scene.comes(&user(n), n).await;
        scene.goes(&user(n), n).await;
    }
    scene.handle.end_graces().await;
    let heard = scene.heard.take();
    let gone = heard
        .iter()
        .filter(|(_, visible)| matches!(visible, Visible::Offline { .. }));
    assert_eq!(gone.count(), 3);
    assert_eq!(scene.mirrored.len(), 6);
}
