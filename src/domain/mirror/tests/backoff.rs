//! The waits to the instant, where the others look at them from afar.

use super::super::backoff::Backoff;
use super::*;

fn failed(backoff: &mut Backoff, outcome: Outcome, now: Instant) {
    backoff.failed(outcome, now, &Limits::default(), 1.0);
}

#[test]
fn a_database_that_is_reached_but_took_no_batch_since_is_still_in_doubt() {
    let (mut backoff, now) = (Backoff::default(), Bench::new(1).now);
    assert!(!backoff.degraded());
    backoff.missed(Outcome::NotSent, now, &Limits::default(), 1.0);
    assert!(backoff.degraded(), "a heartbeat failed");
    backoff.reached(now);
    assert!(!backoff.degraded());
    failed(&mut backoff, Outcome::NotSent, now);
    backoff.reached(now);
    assert!(backoff.until().is_none() && backoff.degraded());
    backoff.written(now);
    assert!(!backoff.degraded());
}

#[test]
fn a_search_may_take_as_many_refusals_as_halving_does_and_two_more() {
    let (mut backoff, now) = (Backoff::default(), Bench::new(1).now);
    for refusal in 1..=6 {
        backoff.refused(8, now, &Limits::default(), 1.0);
        assert_eq!(backoff.until().is_some(), refusal == 6, "{refusal}");
    }
}

#[test]
fn a_pause_that_was_asked_for_ends_at_its_moment_and_not_before() {
    let (mut backoff, now) = (Backoff::default(), Bench::new(1).now);
    let retry_after = Some(Duration::from_secs(2));
    failed(&mut backoff, Outcome::Busy { retry_after }, now);
    let end = now + Duration::from_secs(2);
    assert_eq!(backoff.until(), Some(end));
    // Another failure, whose own wait ends at the same moment.
    failed(&mut backoff, Outcome::NotSent, now + Duration::from_secs(1));
    assert_eq!(backoff.until(), Some(end));
    backoff.reached(now + Duration::from_millis(1_999));
    assert_eq!(backoff.until(), Some(end), "still asked for");
    backoff.reached(end);
    assert_eq!(backoff.until(), None);
}
