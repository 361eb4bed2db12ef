//! A process that others may have taken for dead. A leap of the clock is one that stood still.

use super::fake::{BEGIN, BOOT, Fake, NODE, Op};
use super::*;
use tokio::time::advance;

const SUCCESSOR: &str = "successor";
const LONG: Duration = Duration::from_mins(1);
const MOMENT: Duration = Duration::from_millis(1);

impl Bench {
    /// What was asked since now.
    fn mark(&self) -> Duration {
        Duration::from_millis(self.fake.time().0 - BEGIN)
    }

    /// Another process of this node has come meanwhile, and has this user.
    fn is_succeeded_by(&self, boot: &str, holding: &str) {
        self.fake.is_beaten_by(NODE, boot);
        let held = (online(self.fake.time().0), Some(NODE.to_owned()));
        self.fake.state().users.insert(user(holding), held);
    }
}

impl Fake {
    fn is_beaten_by(&self, node: &str, boot: &str) {
        let beat = (self.time(), Duration::from_secs(10));
        let process = (node.to_owned(), boot.to_owned());
        self.state().beats.insert(process, beat);
    }
}

#[tokio::test(start_paused = true)]
async fn after_standing_still_it_looks_who_lives_before_it_writes() {
    let b = Bench::settled().await;
    b.want("ann", online(1)).await;
    sleep(MOMENT).await;
    advance(LONG).await;
    let since = b.mark();
    b.want("bob", online(2)).await;
    b.sees("bob", online(2)).await;
    let ops = b.fake.asked(since);
    let place = |of: Op| ops.iter().position(|op| *op == of);
    assert!(place(Op::Nodes).unwrap() < place(Op::Write(2)).unwrap());
    assert_eq!(place(Op::Online), None, "nobody was there: {ops:?}");
    assert!(!b.standing.borrow().deposed);
    sleep(LONG).await;
    let looks = b
        .fake
        .asked(since)
        .into_iter()
        .filter(|op| *op == Op::Nodes);
    assert_eq!(looks.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn if_it_finds_a_successor_it_leaves_presence_to_it() {
    let b = Bench::settled().await;
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    b.want("ann", offline(2)).await;
    sleep(MOMENT).await;
    advance(LONG).await;
    b.is_succeeded_by(SUCCESSOR, "ann");
    let since = b.mark();
    b.want("bob", online(3)).await;
    sleep(LONG).await;
    assert!(b.standing.borrow().deposed);
    assert_eq!(writes(&b.fake.asked(since)), 0);
    assert!(b.fake.record(&user("ann")).unwrap().online);
    assert_eq!(
        b.balance(),
        [3, 1, 0, 2, 0],
        "nothing is lost from the books"
    );
    let fake = b.fake.clone();
    assert_eq!(b.end().await, Drained { unwritten: 0 });
    let beats: Vec<_> = fake
        .state()
        .beats
        .keys()
        .map(|(_, boot)| boot.clone())
        .collect();
    assert_eq!(beats, [SUCCESSOR]);
}

#[tokio::test(start_paused = true)]
async fn told_to_end_on_waking_it_looks_first_too() {
    for succeeded in [true, false] {
        let b = Bench::settled().await;
        b.want("ann", online(1)).await;
        b.sees("ann", online(1)).await;
        advance(LONG).await;
        if succeeded {
            b.is_succeeded_by(SUCCESSOR, "ann");
        }
        b.want("ann", offline(2)).await;
        let fake = b.fake.clone();
        assert_eq!(b.end().await, Drained { unwritten: 0 });
        assert_eq!(fake.record(&user("ann")).unwrap().online, succeeded);
    }
}

#[tokio::test(start_paused = true)]
async fn whom_others_that_it_knew_took_for_gone_is_written_again() {
    let fake = Fake::new();
    fake.is_beaten_by("other", "1");
    let b = Bench::start(&fake);
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    advance(LONG).await;
    fake.is_beaten_by("other", "1");
    let gone = (offline(2), Some("other".to_owned()));
    fake.state().users.insert(user("ann"), gone);
    b.sees("ann", online(1)).await;
    assert!(!b.standing.borrow().deposed);
}

#[tokio::test(start_paused = true)]
async fn a_sleep_that_only_the_databases_clock_has_seen_is_noticed_at_the_next_heartbeat() {
    let b = Bench::settled().await;
    b.fake.state().slept = LONG;
    b.is_succeeded_by(SUCCESSOR, "ann");
    sleep(Duration::from_secs(11)).await;
    assert!(b.standing.borrow().deposed);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_it_stood_still_says_nothing_of_who_lives() {
    let fake = Fake::new();
    fake.is_beaten_by("other", "1");
    let b = Bench::start(&fake);
    sleep(SECOND).await;
    fake.state().look_takes = 2 * LONG;
    fake.state().beats.retain(|(node, _), _| node == NODE);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(b.fake.asked(SECOND).last(), Some(&Op::Online));
    advance(LONG).await;
    b.is_succeeded_by(SUCCESSOR, "ann");
    fake.state().look_takes = Duration::ZERO;
    sleep(SECOND).await;
    assert!(b.standing.borrow().deposed);
}

#[tokio::test(start_paused = true)]
async fn who_has_never_looked_is_replaced_by_nobody() {
    let fake = Fake::new();
    fake.is_beaten_by(NODE, "old");
    fake.state().look_takes = 2 * LONG;
    let b = Bench::start(&fake);
    sleep(SECOND).await;
    advance(LONG).await;
    fake.is_beaten_by(NODE, "old");
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    sleep(2 * LONG).await;
    let standing = *b.standing.borrow();
    assert!(standing.adopted && !standing.deposed);
}

#[tokio::test(start_paused = true)]
async fn an_outage_as_long_ends_with_a_look_too() {
    let b = Bench::settled().await;
    b.fake.state().down = Some(WriteError::NotSent);
    b.want("ann", online(1)).await;
    sleep(LONG).await;
    b.is_succeeded_by(SUCCESSOR, "ann");
    b.fake.state().down = None;
    sleep(LONG).await;
    assert!(b.standing.borrow().deposed);
}

#[tokio::test(start_paused = true)]
async fn behind_the_fence_the_rules_know_better() {
    let b = Bench::start_as(&Fake::new(), BOOT, true);
    sleep(SECOND).await;
    advance(LONG).await;
    b.is_succeeded_by(SUCCESSOR, "bob");
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    assert!(!b.standing.borrow().deposed);
}
