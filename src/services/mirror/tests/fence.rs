//! Two processes and one database, behind the fence.

use super::*;
use crate::domain::fence::FenceRecord;

const OLD: &str = "old";

impl Bench {
    /// A mirror behind the fence that has had its first look.
    async fn fenced(fake: &Fake, boot: &'static str) -> Self {
        let bench = Self::start_as(fake, boot, true);
        sleep(SECOND).await;
        assert!(bench.standing.borrow().adopted);
        bench
    }

    fn fence(&self) -> FenceRecord {
        self.fake.state().fence.clone().unwrap()
    }

    async fn until_deposed(&self) {
        let mut standing = self.standing.clone();
        let deposed = standing.wait_for(|standing| standing.deposed);
        let deposed = tokio::time::timeout(Duration::from_mins(3), deposed).await;
        assert!(deposed.is_ok_and(|told| told.is_ok()));
    }
}

fn count(ops: &[Op], of: Op) -> usize {
    ops.iter().filter(|op| **op == of).count()
}

#[tokio::test(start_paused = true)]
async fn an_epoch_is_taken_before_anything_is_looked_at_or_written() {
    let b = Bench::start_as(&Fake::new(), BOOT, true);
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    let ops = b.fake.asked(Duration::ZERO);
    let place = |of: Op| ops.iter().position(|op| *op == of).unwrap();
    assert!(place(Op::Take) < place(Op::Nodes), "{ops:?}");
    assert!(place(Op::Take) < place(Op::Write(1)), "{ops:?}");
    assert_eq!((b.fence().epoch, b.fence().owner.as_str()), (1, BOOT));
    assert_eq!(b.metrics.fence_epoch.get(), 1);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(count(&b.fake.asked(Duration::ZERO), Op::Take), 1);
    assert_eq!(b.end().await, Drained { unwritten: 0 });
}

#[tokio::test(start_paused = true)]
async fn with_the_fence_off_it_is_never_touched() {
    let b = Bench::settled().await;
    b.fake.state().fates.push_back(Fate::Hangs(None));
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    sleep(Duration::from_mins(2)).await;
    let ops = b.fake.asked(Duration::ZERO);
    assert_eq!(count(&ops, Op::Fence) + count(&ops, Op::Take), 0);
    assert_eq!(b.fake.state().fence, None);
}

#[tokio::test(start_paused = true)]
async fn the_older_process_is_deposed_by_its_first_refused_batch() {
    let fake = Fake::new();
    let old = Bench::fenced(&fake, OLD).await;
    old.want("ann", online(1)).await;
    old.sees("ann", online(1)).await;
    let new = Bench::fenced(&fake, BOOT).await;
    assert!(!old.standing.borrow().deposed, "it has nothing to write");
    new.want("ann", online(2)).await;
    old.want("ann", offline(3)).await;
    old.until_deposed().await;
    sleep(Duration::from_mins(2)).await;
    assert!(fake.record(&user("ann")).unwrap().online);
    assert_eq!(old.metrics.fence_epoch.get(), 0);
    let since = Duration::from_millis(fake.time().0 - BEGIN);
    old.want("ann", online(4)).await;
    old.want("ann", offline(5)).await;
    sleep(Duration::from_mins(2)).await;
    assert_eq!(writes(&fake.asked(since)), 0, "it writes no more");
    assert_eq!(count(&fake.asked(since), Op::Take), 0);
    assert_eq!(
        old.end().await,
        Drained { unwritten: 0 },
        "and ends at once"
    );
    assert!(!new.standing.borrow().deposed);
    assert_eq!(new.fence().owner, BOOT);
}

#[tokio::test(start_paused = true)]
async fn users_of_a_deposed_process_are_adopted_when_it_has_ended() {
    let fake = Fake::new();
    let old = Bench::fenced(&fake, OLD).await;
    old.want("ann", online(1)).await;
    old.sees("ann", online(1)).await;
    let mut new = Bench::fenced(&fake, BOOT).await;
    assert!(new.adopted.try_recv().is_err(), "the old one serves ann");
    old.want("bob", online(2)).await;
    old.until_deposed().await;
    assert_eq!(old.end().await, Drained { unwritten: 0 });
    let adopted = tokio::time::timeout(Duration::from_mins(1), new.adopted.recv()).await;
    assert_eq!(adopted.unwrap().unwrap().len(), 1);
    assert_eq!(fake.record(&user("bob")), None);
}

#[tokio::test(start_paused = true)]
async fn a_late_offline_of_the_old_process_does_not_beat_the_new_ones_online() {
    for fence in [true, false] {
        let fake = Fake::new();
        let old = Bench::start_as(&fake, OLD, fence);
        sleep(SECOND).await;
        old.want("ann", online(1)).await;
        old.sees("ann", online(1)).await;
        // The offline is sent, its answer never comes, and it lands much later.
        let late = Fate::Hangs(Some(Duration::from_secs(100)));
        fake.state().fates.push_back(late);
        old.want("ann", offline(2)).await;
        sleep(SECOND).await;
        old.task.abort();
        let new = Bench::start_as(&fake, BOOT, fence);
        new.want("ann", online(3)).await;
        sleep(Duration::from_mins(3)).await;
        let found = fake.record(&user("ann")).unwrap();
        assert_eq!(
            found.online, fence,
            "only the fence keeps it out: {found:?}"
        );
        drop(new);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_between_an_unknown_outcome_and_the_next_epoch() {
    let fake = Fake::new();
    let b = Bench::fenced(&fake, BOOT).await;
    let late = Fate::Hangs(Some(Duration::from_mins(1)));
    fake.state().fates.push_back(late);
    b.want("ann", online(1)).await;
    sleep(SECOND).await;
    b.want("ann", offline(2)).await;
    b.sees("ann", offline(2)).await;
    assert_eq!(b.fence().epoch, 2);
    let ops = fake.asked(SECOND);
    let relevant = ops
        .iter()
        .filter(|op| matches!(op, Op::Write(_) | Op::Take | Op::Online));
    let order: Vec<Op> = relevant.copied().collect();
    assert_eq!(order[..2], [Op::Write(1), Op::Take], "{ops:?}");
    sleep(Duration::from_mins(2)).await;
    assert_eq!(
        fake.record(&user("ann")),
        Some(offline(2)),
        "it landed outside"
    );
    let ops = fake.asked(SECOND);
    assert_eq!(count(&ops, Op::Read), 0, "nobody needs to be read again");
    assert_eq!(
        count(&ops, Op::Online),
        1,
        "the new epoch begins with a look"
    );
    assert_eq!(b.balance(), [2, 1, 1, 0, 0]);
    assert_eq!(b.metrics.sweep_corrections.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_answer_is_lost_knows_itself_again() {
    let fake = Fake::new();
    let lost = Fate::Hangs(Some(SECOND));
    fake.state().fence_fates.push_back(lost);
    let b = Bench::start_as(&fake, BOOT, true);
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    assert_eq!(b.fence().epoch, 1, "it was ours");
    let ops = fake.asked(Duration::ZERO);
    assert_eq!((count(&ops, Op::Fence), count(&ops, Op::Take)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_lands_after_it_was_given_up_loses_nothing() {
    let fake = Fake::new();
    // Lands a little after the next attempt has read the record.
    let lost = Fate::Hangs(Some(DEADLINE + Duration::from_millis(30)));
    fake.state().fence_fates.push_back(lost);
    let b = Bench::start_as(&fake, BOOT, true);
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    assert_eq!(b.fence().epoch, 2);
    assert_eq!(b.fence().owner, BOOT);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_with_the_fence_unchanged_is_a_matter_of_permissions() {
    let fake = Fake::new();
    let b = Bench::fenced(&fake, BOOT).await;
    let refusal = || Fate::Fails(WriteError::Denied("Permission denied".to_owned()));
    for _ in 0..3 {
        fake.state().fates.push_back(refusal());
    }
    b.want("ann", online(1)).await;
    sleep(Duration::from_secs(30)).await;
    assert!(b.standing.borrow().degraded);
    assert!(!b.standing.borrow().deposed);
    let tried = fake.asked(SECOND);
    assert_eq!(writes(&tried), 1, "loud and slow: {tried:?}");
    assert_eq!(count(&tried, Op::Fence), 1);
    assert_eq!(count(&tried, Op::Take), 0);
    b.sees("ann", online(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_fence_removed_by_hand_is_put_up_again_higher() {
    let fake = Fake::new();
    let b = Bench::fenced(&fake, BOOT).await;
    {
        let mut state = fake.state();
        state.fence = None;
        state.taken += 1;
    }
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    assert_eq!(b.fence().epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_cannot_be_taken_is_asked_for_seldom_and_readiness_does_not_wait() {
    let fake = Fake::new();
    for _ in 0..5 {
        let refusal = Fate::Fails(WriteError::Denied("status 401".to_owned()));
        fake.state().fence_fates.push_back(refusal);
    }
    let b = Bench::start_as(&fake, BOOT, true);
    b.want("ann", online(1)).await;
    sleep(Duration::from_secs(30)).await;
    assert!(b.standing.borrow().tried && b.standing.borrow().degraded);
    assert_eq!(count(&fake.asked(Duration::ZERO), Op::Take), 1);
    assert_eq!(writes(&fake.asked(Duration::ZERO)), 0);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(fake.record(&user("ann")), Some(online(1)));
    assert_eq!(count(&fake.asked(Duration::ZERO), Op::Take), 6);
}

#[tokio::test(start_paused = true)]
async fn an_outage_behind_the_fence_costs_few_requests_and_ends_at_the_truth() {
    let fake = Fake::new();
    let b = Bench::fenced(&fake, BOOT).await;
    fake.state().down = Some(WriteError::Ambiguous);
    let outage = Duration::from_millis(fake.time().0 - BEGIN);
    for n in 0..600_u64 {
        let record = if n % 3 == 0 { offline(n) } else { online(n) };
        b.want(&format!("u{}", n % 200), record).await;
        sleep(Duration::from_millis(100)).await;
    }
    let asked = fake.asked(outage);
    assert!(asked.len() <= 13, "{} requests: {asked:?}", asked.len());
    fake.state().down = None;
    sleep(15 * SECOND).await;
    for n in 400..600_u64 {
        let record = fake.record(&user(&format!("u{}", n % 200))).unwrap();
        assert_eq!(record.online, n % 3 != 0);
    }
    let [accepted, written, coalesced, pending, parked] = b.balance();
    assert_eq!((accepted, pending, parked), (600, 0, 0));
    assert_eq!(written + coalesced, accepted);
    assert_eq!(b.end().await, Drained { unwritten: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_drain_takes_the_epoch_it_needs_for_its_last_batch() {
    let fake = Fake::new();
    let b = Bench::fenced(&fake, BOOT).await;
    fake.state()
        .fates
        .push_back(Fate::Fails(WriteError::Ambiguous));
    b.want("ann", offline(1)).await;
    assert_eq!(b.end().await, Drained { unwritten: 0 });
    assert_eq!(fake.record(&user("ann")), Some(offline(1)));
    assert_eq!(fake.state().fence.clone().unwrap().epoch, 2);
}
