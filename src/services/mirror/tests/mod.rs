//! The task against a database in memory, in paused time.

mod adoption;
mod books;
mod fake;
mod fence;
mod silence;
mod simulation;
mod sweep;

use super::*;
use fake::{BEGIN, BOOT, DEADLINE, Fake, Fate, NODE, Op};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any test.
const NEVER: Duration = Duration::from_hours(1_000);

struct Bench {
    fake: Fake,
    handle: MirrorHandle,
    standing: watch::Receiver<Standing>,
    adopted: mpsc::Receiver<Adopted>,
    drain: CancellationToken,
    metrics: Arc<Metrics>,
    task: JoinHandle<Drained>,
}

impl Bench {
    /// A mirror that has had its first look.
    async fn settled() -> Self {
        let bench = Self::start(&Fake::new());
        sleep(SECOND).await;
        assert!(bench.standing.borrow().adopted);
        bench
    }

    fn start(fake: &Fake) -> Self {
        Self::start_as(fake, BOOT, false)
    }

    fn start_as(fake: &Fake, boot: &'static str, fence: bool) -> Self {
        Self::start_with(fake, boot, fence, NEVER)
    }

    fn start_with(fake: &Fake, boot: &'static str, fence: bool, sweep_interval: Duration) -> Self {
        let fake = fake.seen_by(boot);
        let options = MirrorOptions {
            fence,
            limits: Limits::default(),
            heartbeat_interval: Duration::from_secs(10),
            sweep_interval,
            drain_timeout: Duration::from_secs(8),
            me: Process {
                node: NODE.to_owned(),
                boot: boot.to_owned(),
            },
            jitter: || 0.5,
        };
        let metrics = Arc::new(Metrics::new());
        let drain = CancellationToken::new();
        let (sender, adopted) = mpsc::channel(4);
        let records = Arc::new(fake.clone());
        let clock = Clock::system();
        let (handle, standing, task) =
            mirror(options, records, sender, Arc::clone(&metrics), clock);
        Self {
            fake,
            handle,
            standing,
            adopted,
            task: tokio::spawn(task.run(drain.clone())),
            drain,
            metrics,
        }
    }

    async fn want(&self, name: &str, record: Record) {
        self.handle.want(user(name), record).await.unwrap();
    }

    /// Waits until the database says `record` of the user.
    async fn sees(&self, name: &str, record: Record) {
        let seen = async {
            while self.fake.record(&user(name)) != Some(record) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_mins(3), seen).await;
        let found = self.fake.record(&user(name));
        assert!(seen.is_ok(), "{name} should be {record:?} and is {found:?}");
    }

    async fn end(self) -> Drained {
        self.drain.cancel();
        self.task.await.unwrap()
    }

    fn balance(&self) -> [i64; 5] {
        let m = &self.metrics;
        let counted = [&m.mirror_accepted, &m.mirror_written, &m.mirror_coalesced];
        let [accepted, written, coalesced] = counted.map(|c| i64::try_from(c.get()).unwrap());
        [
            accepted,
            written,
            coalesced,
            m.mirror_pending.get(),
            m.mirror_parked.get(),
        ]
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn online(ms: u64) -> Record {
    Record {
        online: true,
        last_seen: UnixMillis(ms),
    }
}

fn offline(ms: u64) -> Record {
    Record {
        online: false,
        last_seen: UnixMillis(ms),
    }
}

fn writes(ops: &[Op]) -> usize {
    ops.iter().filter(|op| matches!(op, Op::Write(_))).count()
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_request_and_a_flap_none() {
    let b = Bench::settled().await;
    for n in 0..300 {
        b.want(&format!("u{n}"), online(1)).await;
    }
    b.sees("u299", online(1)).await;
    let since = b.fake.state().journal.len();
    b.want("u7", offline(2)).await;
    b.want("u7", online(3)).await;
    sleep(5 * SECOND).await;
    let journal = b.fake.state().journal.clone();
    let ops: Vec<Op> = journal.iter().map(|(_, op)| *op).collect();
    assert_eq!(writes(&ops), 1);
    assert_eq!(journal.len(), since, "{journal:?}");
    assert_eq!(b.balance(), [302, 300, 2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_mirror_only_beats() {
    let b = Bench::settled().await;
    sleep(Duration::from_mins(10)).await;
    let ops = b.fake.asked(SECOND);
    assert!(ops.iter().all(|op| *op == Op::Beat), "{ops:?}");
    assert!((59..=61).contains(&ops.len()), "{}", ops.len());
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_few_requests_and_ends_at_the_truth() {
    let b = Bench::settled().await;
    b.fake.state().down = Some(WriteError::NotSent);
    let outage = b.fake.time().0 - BEGIN;
    for n in 0..5_000_u64 {
        let name = format!("u{}", n % 2_000);
        b.want(&name, if n % 3 == 0 { offline(n) } else { online(n) })
            .await;
        sleep(Duration::from_millis(12)).await;
    }
    assert!(b.standing.borrow().degraded);
    let asked = b.fake.asked(Duration::from_millis(outage));
    assert!(asked.len() <= 12, "{} requests: {asked:?}", asked.len());
    b.fake.state().down = None;
    sleep(15 * SECOND).await;
    for n in 3_000..5_000_u64 {
        let record = b.fake.record(&user(&format!("u{}", n % 2_000))).unwrap();
        assert_eq!(record.online, n % 3 != 0);
    }
    assert!(!b.standing.borrow().degraded);
    let [accepted, written, coalesced, pending, parked] = b.balance();
    assert_eq!((accepted, pending, parked), (5_000, 0, 0));
    assert_eq!(written + coalesced, accepted);
}

#[tokio::test(start_paused = true)]
async fn transitions_are_taken_while_a_write_hangs_and_the_latest_state_follows() {
    let b = Bench::settled().await;
    b.fake.state().fates.push_back(Fate::Hangs(Some(SECOND)));
    b.want("ann", online(1)).await;
    sleep(SECOND).await;
    for n in 0..5_000 {
        b.want("ann", offline(n)).await;
        b.want("ann", online(n)).await;
    }
    b.want("ann", offline(9)).await;
    b.sees("ann", offline(9)).await;
    let sizes = b.fake.asked(SECOND);
    assert!(writes(&sizes) <= 2, "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_lands_late_is_put_right() {
    let b = Bench::settled().await;
    b.fake
        .state()
        .fates
        .push_back(Fate::Hangs(Some(Duration::from_secs(20))));
    b.want("ann", online(1)).await;
    sleep(SECOND).await;
    b.want("ann", offline(2)).await;
    sleep(10 * SECOND).await;
    assert_eq!(b.fake.record(&user("ann")), Some(offline(2)));
    b.sees("ann", online(1)).await;
    b.sees("ann", offline(2)).await;
    sleep(Duration::from_mins(2)).await;
    assert_eq!(b.fake.record(&user("ann")), Some(offline(2)));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_database_asks_for_is_kept_by_every_request() {
    let b = Bench::settled().await;
    let retry_after = Some(Duration::from_secs(25));
    b.fake
        .state()
        .fates
        .push_back(Fate::Fails(WriteError::Busy { retry_after }));
    b.want("ann", online(1)).await;
    sleep(SECOND).await;
    let refused = b.fake.state().journal.last().unwrap().0;
    sleep(Duration::from_secs(24)).await;
    let pause = b.fake.asked(refused + Duration::from_millis(1));
    assert_eq!(pause, []);
    b.sees("ann", online(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_answer_to_a_read_asks_for_is_kept_too() {
    let fake = Fake::new();
    let other = ("other".to_owned(), "1".to_owned());
    let beat = (fake.time(), Duration::from_mins(10));
    fake.state().beats.insert(other, beat);
    let b = Bench::start(&fake);
    sleep(3 * SECOND).await;
    let retry_after = Some(Duration::from_secs(25));
    // The next request is a look whether the other process still lives.
    b.fake.state().down = Some(WriteError::Busy { retry_after });
    sleep(3 * SECOND).await;
    let (refused, op) = *b.fake.state().journal.last().unwrap();
    assert_eq!(op, Op::Nodes);
    b.fake.state().down = None;
    b.want("ann", online(1)).await;
    sleep(Duration::from_secs(22)).await;
    let pause = b.fake.asked(refused + Duration::from_millis(1));
    assert_eq!(pause, []);
    b.sees("ann", online(1)).await;
}

#[tokio::test(start_paused = true)]
async fn one_poisonous_record_is_parked_and_the_others_land() {
    let b = Bench::settled().await;
    b.fake.state().poison.push(user("u123"));
    for n in 0..400 {
        b.want(&format!("u{n}"), online(1)).await;
    }
    sleep(2 * SECOND).await;
    assert_eq!(b.balance(), [400, 399, 0, 0, 1]);
    assert!(writes(&b.fake.asked(SECOND)) <= 11);
    b.fake.state().poison.clear();
    b.want("u123", offline(2)).await;
    b.sees("u123", offline(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_door_is_knocked_at_once_a_minute() {
    let b = Bench::settled().await;
    b.fake.state().down = Some(WriteError::Denied("status 401".to_owned()));
    b.want("ann", online(1)).await;
    sleep(10 * SECOND).await;
    let since = Duration::from_secs(11);
    sleep(Duration::from_mins(10)).await;
    let asked = b.fake.asked(since);
    assert!((9..=11).contains(&asked.len()), "{asked:?}");
    b.fake.state().down = None;
    b.sees("ann", online(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_flushes_at_once_and_takes_the_heartbeat_away() {
    let b = Bench::settled().await;
    for n in 0..1_000 {
        b.want(&format!("u{n}"), offline(1)).await;
    }
    let (fake, handle) = (b.fake.clone(), b.handle.clone());
    let begun = fake.time();
    assert_eq!(b.end().await, Drained { unwritten: 0 });
    assert_eq!(fake.state().users.len(), 1_000);
    assert_eq!(fake.state().beats.len(), 0);
    assert!(fake.time().0 - begun.0 < 200, "no window is waited for");
    assert_eq!(handle.want(user("ann"), online(2)).await, Err(MirrorEnded));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_in_time_and_says_who_is_left() {
    let b = Bench::settled().await;
    b.fake.state().down = Some(WriteError::NotSent);
    b.want("ann", offline(1)).await;
    b.want("bob", offline(1)).await;
    sleep(20 * SECOND).await;
    let (fake, begun) = (b.fake.clone(), b.fake.time());
    assert_eq!(b.end().await, Drained { unwritten: 2 });
    assert!(fake.time().0 - begun.0 <= 8_600);
}

#[tokio::test(start_paused = true)]
async fn a_drain_gets_through_when_the_database_returns_meanwhile() {
    let b = Bench::settled().await;
    b.fake.state().down = Some(WriteError::NotSent);
    b.want("ann", offline(1)).await;
    sleep(Duration::from_mins(2)).await;
    b.fake.state().down = None;
    let (fake, begun) = (b.fake.clone(), b.fake.time());
    assert_eq!(b.end().await, Drained { unwritten: 0 });
    assert!(fake.time().0 - begun.0 < 500, "whatever the back-off was");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_silence_is_survived_and_late_landings_too() {
    let b = Bench::settled().await;
    for n in 0..6 {
        let landing = (n % 2 == 0).then(|| Duration::from_secs(25));
        b.fake.state().fates.push_back(Fate::Hangs(landing));
    }
    for n in 0..600_u64 {
        let record = if n % 2 == 0 { online(n) } else { offline(n) };
        b.want(&format!("u{}", n % 7), record).await;
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_mins(2)).await;
    for n in 593..600 {
        let record = if n % 2 == 0 { online(n) } else { offline(n) };
        let found = b.fake.record(&user(&format!("u{}", n % 7))).unwrap();
        assert!(found.agrees(record), "{n}: {found:?}");
    }
    let [accepted, written, coalesced, pending, parked] = b.balance();
    assert_eq!((accepted, pending, parked), (600, 0, 0));
    assert_eq!(written + coalesced, accepted);
}

#[tokio::test(start_paused = true)]
async fn a_silent_database_is_asked_one_request_at_a_time() {
    let b = Bench::settled().await;
    b.fake.state().silent = true;
    b.want("ann", online(1)).await;
    sleep(Duration::from_secs(20)).await;
    b.fake.state().most_under_way = 0;
    for n in 0..600 {
        b.want("ann", if n % 2 == 0 { offline(n) } else { online(n) })
            .await;
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(b.fake.state().most_under_way, 1);
    b.fake.state().silent = false;
    b.sees("ann", online(599)).await;
}

#[tokio::test(start_paused = true)]
async fn every_user_of_a_doubtful_batch_is_read_again_twice_and_no_more() {
    let b = Bench::settled().await;
    b.fake.state().fates.push_back(Fate::Hangs(None));
    for n in 0..50 {
        b.want(&format!("u{n}"), online(1)).await;
    }
    sleep(Duration::from_mins(5)).await;
    let ops = b.fake.asked(SECOND);
    assert_eq!(ops.iter().filter(|op| **op == Op::Read).count(), 100);
    assert_eq!(writes(&ops), 2);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_whose_handles_are_gone_ends_by_itself() {
    let b = Bench::settled().await;
    b.want("ann", online(1)).await;
    drop(b.handle);
    assert_eq!(b.task.await.unwrap(), Drained { unwritten: 0 });
    assert_eq!(b.fake.record(&user("ann")), Some(online(1)));
}
