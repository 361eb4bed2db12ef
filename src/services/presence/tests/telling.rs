//! Whom a transition is told, and how often.

use super::*;

fn user(n: u64) -> UserId {
    UserId::parse(&format!("u{n}")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_transition_is_told_once_to_the_people_and_once_to_the_mirror() {
    let mut bench = Bench::start();
    let (came, went) = (UnixMillis(1_000), UnixMillis(6_000));
    bench.comes(&user(1), 1).await;
    bench.comes(&user(1), 2).await;
    bench.goes(&user(1), 1).await;
    bench.clock.set_unix(went);
    bench.goes(&user(1), 2).await;
    bench.goes(&user(1), 2).await;
    bench.handle.settled().await;
    sleep(GRACE * 2).await;
    let offline = Visible::Offline {
        last_seen: Some(went),
    };
    assert_eq!(
        bench.heard.take(),
        [(user(1), Visible::Online), (user(1), offline)]
    );
    for (online, last_seen) in [(true, came), (false, went)] {
        let record = Record { online, last_seen };
        assert_eq!(bench.wanted.try_recv(), Ok((user(1), record)));
    }
    assert!(bench.wanted.is_empty());
    assert_eq!(bench.handle.look(vec![user(1)]).await, [offline]);
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_in_time_that_waited_for_the_mirror_is_silent() {
    const USERS: u64 = 64;
    let mut bench = Bench::start();
    for n in 0..USERS {
        bench.comes(&user(n), n).await;
        bench.goes(&user(n), n).await;
    }
    // The mirror takes no more, and the owner waits for it.
    for n in USERS..=MIRRORED {
        bench.comes(&user(n), n).await;
    }
    sleep(GRACE / 2).await;
    for n in 0..USERS {
        bench.comes(&user(n), MIRRORED + 1 + n).await;
    }
    sleep(GRACE).await;
    bench.heard.take();
    while bench.wanted.try_recv().is_ok() {}
    bench.handle.settled().await;
    assert_eq!(bench.heard.take(), []);
    assert_eq!(bench.metrics.presence_absorbed.get(), USERS);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_a_successor_ends_every_grace() {
    let bench = Bench::start();
    for n in 0..3 {
        bench.comes(&user(n), n).await;
        bench.goes(&user(n), n).await;
    }
    bench.handle.end_graces().await;
    let heard = bench.heard.take();
    let gone = heard
        .iter()
        .filter(|(_, visible)| matches!(visible, Visible::Offline { .. }));
    assert_eq!(gone.count(), 3);
    assert_eq!(bench.wanted.len(), 6);
}
