//! A leap of the clock is a process that stood still.

use super::*;
use tokio::time::advance;

const STANDSTILL: Duration = Duration::from_mins(1);

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
