//! The owner in paused time. A leap of the clock is a process that stood still.

use super::*;
use tokio::time::{advance, sleep};

/// Ten and thirty turns.
const GRACE: Duration = Duration::from_secs(10);
const START_GRACE: Duration = Duration::from_secs(30);
const STANDSTILL: Duration = Duration::from_mins(1);
const PHONE: ConnectionId = ConnectionId(1);

struct Deaf;

impl Announce for Deaf {
    fn presence(&self, _: &UserId, _: Visible, _: &[ChatId]) {}
    fn stop_typing(&self, _: &ChatId, _: &UserId) {}
}

struct Bench {
    handle: PresenceHandle,
    chats: Arc<Chats>,
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
        let (mirror, wanted) = mpsc::channel(QUEUE);
        let outside = Outside {
            chats: Arc::clone(&chats),
            announce: Arc::new(Deaf),
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
            adopt,
            wanted,
            clock,
            metrics,
        }
    }

    /// Ann was here, and left.
    async fn was_here(&self) {
        let (ann, now) = (ann(), self.clock.now());
        self.handle.connected(&ann, PHONE, now).await;
        self.chats.join(&ann, &chat(), now.instant, 0);
        let until = now.instant + GRACE;
        self.chats.linger(&ann, vec![chat()], until);
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

#[tokio::test(start_paused = true)]
async fn a_grace_that_ends_while_the_process_stands_still_begins_again_where_it_was() {
    let mut bench = Bench::start();
    bench.was_here().await;
    sleep(GRACE / 2).await;
    bench.clock.set_unix(UnixMillis(90_000));
    advance(STANDSTILL).await;
    sleep(3 * TURN).await;
    assert!(bench.is_online().await);
    assert_eq!(bench.departures(), []);
    sleep(3 * TURN).await;
    assert_eq!(bench.departures(), [UnixMillis(1_000)], "as of the close");
    assert_eq!(bench.metrics.standstills.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_right_after_a_standstill_was_never_away() {
    let mut bench = Bench::start();
    bench.was_here().await;
    // The clock has leapt before the owner gets its turn, and the order is in the queue.
    let coming = bench.clock.now();
    let (ann, handle) = (ann(), bench.handle.clone());
    tokio::join!(advance(STANDSTILL), handle.connected(&ann, PHONE, coming),);
    sleep(2 * STANDSTILL).await;
    assert_eq!(bench.departures(), []);
    assert!(bench.is_online().await);
}

#[tokio::test(start_paused = true)]
async fn a_close_told_before_a_standstill_and_heard_after_it_has_its_grace() {
    let mut bench = Bench::start();
    let (ann, now) = (ann(), bench.clock.now());
    bench.handle.connected(&ann, PHONE, now).await;
    bench.handle.settled().await;
    let handle = bench.handle.clone();
    tokio::join!(advance(STANDSTILL), handle.disconnected(&ann, PHONE, now),);
    sleep(8 * TURN).await;
    assert_eq!(bench.departures(), []);
    sleep(3 * TURN).await;
    assert_eq!(bench.departures(), [UnixMillis(1_000)]);
}

#[tokio::test(start_paused = true)]
async fn the_adopted_have_their_start_grace_in_spite_of_a_standstill() {
    let mut bench = Bench::start();
    bench.adopts(500).await;
    advance(STANDSTILL).await;
    sleep(27 * TURN).await;
    assert_eq!(bench.departures(), []);
    sleep(4 * TURN).await;
    assert_eq!(bench.departures(), [UnixMillis(500)]);
    // And so has whoever is found after it.
    let mut bench = Bench::start();
    advance(STANDSTILL).await;
    sleep(TURN).await;
    bench.adopts(500).await;
    sleep(26 * TURN).await;
    assert_eq!(bench.departures(), []);
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_kept_as_long_as_its_user() {
    let bench = Bench::start();
    bench.was_here().await;
    advance(STANDSTILL).await;
    sleep(GRACE / 2).await;
    let now = bench.clock.instant();
    bench.chats.sweep(now);
    let joined = bench.chats.join(&ann(), &chat(), now, 0);
    assert!(!joined.arrived, "the others have never missed her");
}

#[tokio::test(start_paused = true)]
async fn ordinary_delays_give_nothing_back() {
    let mut bench = Bench::start();
    bench.was_here().await;
    for _ in 0..4 {
        advance(PATIENCE).await;
        assert!(bench.is_online().await);
    }
    sleep(3 * TURN).await;
    assert_eq!(bench.departures(), [UnixMillis(1_000)]);
    assert_eq!(bench.metrics.standstills.get(), 0);
}

/// What the sabotage of this protection does.
#[tokio::test(start_paused = true)]
async fn without_patience_for_it_a_standstill_counts_like_any_time() {
    let mut bench = Bench::with(FOREVER);
    bench.was_here().await;
    advance(STANDSTILL).await;
    sleep(TURN).await;
    assert_eq!(bench.departures(), [UnixMillis(1_000)]);
}
