//! Where every transition went, also at the end: accepted = written + coalesced + pending + parked.

use super::*;

fn balance(metrics: &Metrics) -> (u64, i64) {
    let page = metrics.encode().unwrap();
    let value = |name: &str| {
        let mut lines = page.lines();
        let line = lines.find_map(|line| line.strip_prefix("bridge_mirror_")?.strip_prefix(name));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    let parts = ["written_total", "coalesced_total", "pending", "parked"].map(value);
    let accepted = value("accepted_total");
    assert_eq!(accepted, parts.iter().sum::<u64>(), "{page}");
    (accepted, metrics.mirror_pending.get())
}

/// Looks at the books until the mirror has ended.
async fn watch(b: Bench) -> (Drained, (u64, i64)) {
    let metrics = Arc::clone(&b.metrics);
    let ending = tokio::spawn(b.end());
    while !ending.is_finished() {
        balance(&metrics);
        sleep(Duration::from_millis(5)).await;
    }
    (ending.await.unwrap(), balance(&metrics))
}

async fn crowd(b: &Bench) {
    for n in 0..2_000 {
        let record = if n % 3 == 0 { offline(n) } else { online(n) };
        b.want(&format!("u{}", n % 900), record).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_keeps_them_and_ends_with_nothing_pending() {
    let b = Bench::settled().await;
    b.fake.state().poison.push(user("u7"));
    for fate in [
        Fate::Fails(WriteError::NotSent),
        Fate::Slow(SECOND),
        Fate::Fails(WriteError::Ambiguous),
    ] {
        b.fake.state().fates.push_back(fate);
    }
    crowd(&b).await;
    let (drained, books) = watch(b).await;
    assert_eq!(drained, Drained { unwritten: 1 }, "the poisonous one");
    assert_eq!(books, (2_000, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_drain_could_not_write_stays_in_them() {
    let b = Bench::settled().await;
    b.fake.state().down = Some(WriteError::NotSent);
    crowd(&b).await;
    let (drained, books) = watch(b).await;
    assert_eq!(drained, Drained { unwritten: 900 });
    assert_eq!(books, (2_000, 900));
}

#[tokio::test(start_paused = true)]
async fn a_deposed_process_keeps_them_to_its_end() {
    let fake = Fake::new();
    let old = Bench::start_as(&fake, "old", true);
    sleep(SECOND).await;
    let new = Bench::start_as(&fake, BOOT, true);
    sleep(SECOND).await;
    crowd(&old).await;
    sleep(Duration::from_mins(1)).await;
    assert!(old.standing.borrow().deposed && !new.standing.borrow().deposed);
    crowd(&old).await;
    let (drained, (accepted, pending)) = watch(old).await;
    assert_eq!(drained, Drained { unwritten: 0 }, "left to the other");
    assert_eq!((accepted, pending), (4_000, 900));
}
