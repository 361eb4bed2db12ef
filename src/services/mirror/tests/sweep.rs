//! The database is compared with the truth, a page at a time.

use super::fake::{BOOT, Fake, NODE, Op};
use super::*;

const INTERVAL: Duration = Duration::from_mins(5);

async fn sweeping() -> Bench {
    let b = Bench::start_with(Fake::new(), BOOT, false, INTERVAL);
    sleep(SECOND).await;
    assert!(b.standing.borrow().adopted);
    b
}

impl Bench {
    /// Somebody else's hand.
    fn put(&self, name: &str, record: Record) {
        let signed = (record, Some(NODE.to_owned()));
        self.fake.state().users.insert(user(name), signed);
    }

    fn corrections(&self) -> u64 {
        self.metrics.sweep_corrections.get()
    }
}

fn pages(ops: &[Op]) -> usize {
    ops.iter().filter(|op| matches!(op, Op::Page(_))).count()
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_changed_is_put_right_within_an_interval() {
    let b = sweeping().await;
    for name in ["ann", "ben", "cid"] {
        b.want(name, online(1)).await;
    }
    b.sees("cid", online(1)).await;
    b.put("ann", offline(5));
    b.fake.state().users.remove(&user("ben"));
    b.put("stray", online(7));
    b.put("gone", offline(8));
    sleep(INTERVAL).await;
    assert_eq!(b.fake.record(&user("ann")), Some(online(1)));
    assert_eq!(b.fake.record(&user("ben")), Some(online(1)));
    assert_eq!(b.fake.record(&user("stray")), Some(offline(7)));
    assert_eq!(b.fake.record(&user("gone")), Some(offline(8)));
    assert_eq!(b.corrections(), 3);
    sleep(4 * INTERVAL).await;
    assert_eq!(b.corrections(), 3, "once is enough");
    assert_eq!(b.balance(), [3, 3, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_healthy_run_is_read_and_never_corrected() {
    let b = sweeping().await;
    for n in 0..3_000_u64 {
        let name = format!("u{}", n % 500);
        let record = if n % 3 == 0 { offline(n) } else { online(n) };
        b.want(&name, record).await;
        sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(b.corrections(), 0);
    let ops = b.fake.asked(SECOND);
    assert_eq!(pages(&ops), 7, "one page in each interval of 35 minutes");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_slow_to_come_corrects_nobody_who_moved_meanwhile() {
    let b = sweeping().await;
    b.want("ann", online(1)).await;
    b.want("ben", online(1)).await;
    b.sees("ben", online(1)).await;
    // From here on an answer is ten seconds old when it comes.
    b.fake.state().look_takes = Duration::from_secs(10);
    sleep(INTERVAL - Duration::from_secs(2)).await;
    while pages(&b.fake.asked(SECOND)) == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    b.want("ann", offline(2)).await;
    b.want("cid", online(2)).await;
    b.sees("cid", online(2)).await;
    b.want("ben", offline(3)).await;
    b.want("ben", online(4)).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(b.corrections(), 0);
    assert_eq!(b.fake.record(&user("ann")), Some(offline(2)));
    assert_eq!(b.fake.record(&user("cid")), Some(online(2)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_lands_while_its_page_is_read_is_no_discrepancy() {
    let b = sweeping().await;
    b.fake.state().look_takes = Duration::from_secs(10);
    sleep(INTERVAL - Duration::from_secs(2)).await;
    // Wanted before the page is asked for, written while it is under way.
    while pages(&b.fake.asked(SECOND)) == 0 {
        let n = b.fake.time().0;
        b.want("ann", online(n)).await;
        b.want("ann", offline(n)).await;
        b.want("ben", online(n)).await;
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_secs(30)).await;
    assert_eq!(b.corrections(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_another_boot_lives_its_users_are_left_alone() {
    let b = sweeping().await;
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    let (beats, fake) = (b.fake.clone(), b.fake.clone());
    // It comes long after our first look.
    let other = tokio::spawn(async move {
        let record = (online(9), Some(NODE.to_owned()));
        fake.state().users.insert(user("theirs"), record);
        loop {
            let beat = (beats.time(), Duration::from_secs(10));
            let process = (NODE.to_owned(), "other".to_owned());
            beats.state().beats.insert(process, beat);
            sleep(Duration::from_secs(10)).await;
        }
    });
    b.put("ann", offline(5));
    let mut b = b;
    sleep(2 * INTERVAL).await;
    assert_eq!(
        b.fake.record(&user("ann")),
        Some(online(1)),
        "ours is put right"
    );
    assert_eq!(b.fake.record(&user("theirs")), Some(online(9)));
    assert_eq!(b.corrections(), 1);
    assert!(b.adopted.try_recv().is_err());
    other.abort();
    let adopted = tokio::time::timeout(Duration::from_mins(1), b.adopted.recv()).await;
    assert_eq!(
        adopted.unwrap().unwrap().len(),
        1,
        "and adopted when it has died"
    );
    assert_eq!(b.fake.record(&user("theirs")), Some(online(9)));
}

#[tokio::test(start_paused = true)]
async fn a_large_database_is_read_within_the_budget_and_to_its_end() {
    let b = sweeping().await;
    for n in 0..35_000 {
        b.put(&format!("u{n}"), offline(1));
    }
    b.put("zoe", online(7));
    sleep(Duration::from_mins(29)).await;
    let budget = 5 * 1_000_000 / 100;
    let read: usize = b
        .fake
        .state()
        .journal
        .iter()
        .map(|(_, op)| match op {
            Op::Page(most) => *most,
            _ => 0,
        })
        .sum();
    assert!(read <= budget + 5 * 1_000, "{read} records");
    assert_eq!(b.fake.record(&user("zoe")), Some(offline(7)));
    assert_eq!(b.corrections(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_parked_are_tried_again_by_the_sweep() {
    let b = sweeping().await;
    b.fake.state().poison.push(user("ann"));
    b.want("ann", online(1)).await;
    sleep(SECOND).await;
    assert_eq!(b.balance(), [1, 0, 0, 0, 1]);
    b.fake.state().poison.clear();
    sleep(INTERVAL).await;
    assert_eq!(b.fake.record(&user("ann")), Some(online(1)));
    assert_eq!(b.balance(), [1, 1, 0, 0, 0]);
    assert_eq!(b.corrections(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_the_sweep_and_a_drain_does_not_wait_for_it() {
    let b = sweeping().await;
    b.put("stray", online(7));
    b.fake.state().down = Some(WriteError::NotSent);
    sleep(INTERVAL + Duration::from_mins(1)).await;
    assert_eq!(pages(&b.fake.asked(SECOND)), 0);
    b.fake.state().down = None;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(b.fake.record(&user("stray")), Some(offline(7)));
    b.fake.state().look_takes = Duration::from_mins(1);
    sleep(INTERVAL).await;
    let begun = b.fake.time();
    let fake = b.fake.clone();
    assert_eq!(b.end().await, Drained { unwritten: 0 });
    assert!(fake.time().0 - begun.0 < 200);
}

#[tokio::test(start_paused = true)]
async fn behind_the_fence_the_sweep_goes_on_and_ends_with_the_epoch() {
    let fake = Fake::new();
    let old = Bench::start_with(fake.clone(), "old", true, INTERVAL);
    sleep(SECOND).await;
    old.put("stray", online(7));
    sleep(INTERVAL).await;
    old.sees("stray", offline(7)).await;
    let _new = Bench::start_with(fake.clone(), BOOT, true, NEVER);
    sleep(SECOND).await;
    old.want("ann", online(1)).await;
    sleep(Duration::from_secs(10)).await;
    assert!(old.standing.borrow().deposed);
    let since = Duration::from_millis(fake.time().0 - BEGIN);
    sleep(3 * INTERVAL).await;
    assert_eq!(pages(&fake.asked(since)), 0);
}
