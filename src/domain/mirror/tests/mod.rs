//! Examples; the properties are next door.

mod backoff;
mod bisect;
mod pace;
mod recheck;
mod sweep;

use super::*;
use crate::domain::time::UnixMillis;
use std::collections::HashSet;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A mirror with an invented clock.
struct Bench {
    mirror: Mirror,
    now: Instant,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "some instant must be the first")]
    fn new(batch_users: usize) -> Self {
        let limits = Limits {
            batch_users,
            ..Limits::default()
        };
        Self {
            mirror: Mirror::new(limits),
            now: Instant::now(),
        }
    }

    fn want(&mut self, name: &str, record: Record) {
        self.mirror.want(&user(name), record, self.now);
    }

    fn wait(&mut self, ms: u32) {
        self.now += MS * ms;
    }

    /// The next batch, at its deadline.
    fn send(&mut self) -> Vec<(UserId, Record)> {
        if let Some(due) = self.mirror.next_deadline() {
            self.now = self.now.max(due);
        }
        let batch = self.mirror.next_batch(self.now);
        batch.map(|b| b.records).unwrap_or_default()
    }

    fn settle(&mut self, outcome: Outcome) {
        self.mirror.settle(outcome, self.now, 1.0);
    }

    fn written(&mut self, name: &str, record: Record) {
        self.want(name, record);
        assert_eq!(self.send(), [(user(name), record)]);
        self.settle(Outcome::Written);
    }

    fn wait_of_the_next(&self) -> Option<Duration> {
        self.mirror.next_deadline().map(|due| due - self.now)
    }

    fn balance(&self) -> [u64; 5] {
        let b = self.mirror.balance();
        [b.accepted, b.written, b.coalesced, b.pending, b.parked]
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

#[test]
fn changes_within_a_window_are_one_request() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.wait(249);
    b.want("bob", online(2));
    assert_eq!(b.mirror.next_batch(b.now), None);
    b.wait(1);
    let batch = b.mirror.next_batch(b.now).unwrap();
    let both = vec![(user("ann"), online(1)), (user("bob"), online(2))];
    assert_eq!(batch.records, both);
    b.want("cid", online(3));
    assert_eq!(b.mirror.next_deadline(), None, "one in flight");
    assert_eq!(b.mirror.next_batch(b.now + MS * 9999), None);
}

#[test]
fn a_flap_within_the_window_costs_nothing() {
    let mut b = Bench::new(400);
    b.written("ann", online(1));
    b.want("ann", offline(2));
    b.want("ann", online(3));
    assert_eq!(b.mirror.next_deadline(), None);
    assert_eq!(b.balance(), [3, 1, 2, 0, 0]);
}

#[test]
fn a_new_last_seen_is_written() {
    let mut b = Bench::new(400);
    b.mirror.adopt(&user("ann"), online(1));
    b.want("ann", offline(2));
    b.want("ann", online(3));
    b.want("ann", offline(4));
    assert_eq!(b.send(), [(user("ann"), offline(4))]);
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [3, 1, 2, 0, 0]);
    assert!(
        b.mirror.is_empty(),
        "whoever is confirmed offline is forgotten"
    );
}

#[test]
fn more_users_than_a_batch_holds_go_oldest_first_one_batch_after_the_other() {
    let mut b = Bench::new(2);
    for name in ["ann", "bob", "cid"] {
        b.want(name, online(1));
        b.wait(1);
    }
    b.want("ann", online(2));
    assert_eq!(b.send().len(), 2);
    b.settle(Outcome::Written);
    assert_eq!(b.send(), [(user("cid"), online(1))]);
}

#[test]
fn what_changes_during_the_flight_is_written_afterwards() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.send();
    b.want("ann", offline(2));
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [2, 1, 0, 1, 0]);
    assert_eq!(b.send(), [(user("ann"), offline(2))]);
}

#[test]
fn an_ambiguous_write_makes_the_confirmed_state_unknown() {
    let mut b = Bench::new(400);
    b.written("ann", online(1));
    b.want("ann", offline(2));
    b.send();
    b.want("ann", online(3));
    b.settle(Outcome::Ambiguous);
    assert_eq!(
        b.send(),
        [(user("ann"), online(3))],
        "though formerly confirmed"
    );
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [3, 2, 1, 0, 0]);
}

#[test]
fn a_write_not_sent_leaves_the_confirmed_state() {
    let mut b = Bench::new(400);
    b.written("ann", online(1));
    b.want("ann", offline(2));
    b.send();
    b.want("ann", online(3));
    b.settle(Outcome::NotSent);
    assert_eq!(b.mirror.next_deadline(), None);
    assert_eq!(b.balance(), [3, 1, 2, 0, 0]);
}

#[test]
fn backoff_doubles_from_half_a_second_to_nine_and_a_written_batch_ends_it() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    for seconds in [0.5, 1.0, 2.0, 4.0, 8.0, 9.0, 9.0] {
        b.send();
        b.settle(Outcome::NotSent);
        assert_eq!(b.wait_of_the_next(), Some(Duration::from_secs_f64(seconds)));
    }
    b.send();
    b.settle(Outcome::Written);
    assert!(!b.mirror.degraded());
    b.want("ann", offline(2));
    b.send();
    b.mirror.settle(Outcome::NotSent, b.now, 0.0);
    assert_eq!(b.wait_of_the_next(), Some(MS * 400), "a fifth is chance");
}

#[test]
fn a_minute_without_the_database_costs_at_most_twelve_requests() {
    for jitter in [0.0, 0.5, 1.0] {
        let mut b = Bench::new(400);
        b.want("ann", online(1));
        let mut requests = 0;
        let end = b.now + Duration::from_mins(1);
        while b.mirror.next_deadline().unwrap() < end {
            b.send();
            requests += 1;
            b.mirror.settle(Outcome::NotSent, b.now, jitter);
            assert!(b.wait_of_the_next().unwrap() < Duration::from_secs(10));
        }
        assert!(requests <= 12, "{requests} with {jitter}");
    }
}

#[test]
fn a_heartbeat_that_arrives_ends_a_backoff_but_not_a_pause() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    for _ in 0..6 {
        b.send();
        b.settle(Outcome::NotSent);
    }
    b.mirror.reached(b.now);
    assert!(b.mirror.next_deadline().unwrap() <= b.now);
    b.send();
    let retry_after = Some(Duration::from_secs(30));
    b.settle(Outcome::Busy { retry_after });
    b.mirror.reached(b.now);
    b.mirror.missed(Outcome::NotSent, b.now, 1.0);
    assert_eq!(b.wait_of_the_next(), retry_after);
}

#[test]
fn a_batch_written_during_a_pause_does_not_end_it() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.send();
    b.want("bob", online(1));
    let retry_after = Some(Duration::from_secs(30));
    b.mirror.missed(Outcome::Busy { retry_after }, b.now, 1.0);
    b.settle(Outcome::Written);
    assert_eq!(b.wait_of_the_next(), retry_after);
}

#[test]
fn a_refusal_is_retried_once_a_minute() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    for _ in 0..3 {
        assert_eq!(b.send().len(), 1);
        b.settle(Outcome::Denied);
        assert_eq!(b.wait_of_the_next(), Some(Duration::from_mins(1)));
    }
}

#[test]
fn an_adopted_user_costs_no_write_unless_somebody_else_signed_the_record() {
    let mut b = Bench::new(400);
    assert!(b.mirror.adopt(&user("ann"), online(1)));
    assert_eq!(b.mirror.next_deadline(), None);
    assert!(b.mirror.claim(&user("bob"), online(1), b.now));
    assert_eq!(b.send(), [(user("bob"), online(1))]);
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [0; 5]);
}

#[test]
fn whoever_came_before_the_adoption_is_not_written_again() {
    let mut b = Bench::new(400);
    b.want("ann", online(5));
    assert!(!b.mirror.adopt(&user("ann"), online(1)));
    assert_eq!(b.mirror.next_deadline(), None);
    assert_eq!(b.balance(), [1, 0, 1, 0, 0]);
    b.written("bob", offline(2));
    b.want("bob", online(3));
    b.send();
    assert!(!b.mirror.adopt(&user("bob"), offline(1)));
    b.settle(Outcome::Written);
    assert_eq!(b.mirror.next_deadline(), None);
}

#[test]
fn whoever_is_held_online_and_missing_in_the_database_is_written_again() {
    let mut b = Bench::new(400);
    for name in ["ann", "bob", "cid"] {
        b.mirror.adopt(&user(name), online(1));
    }
    b.want("dee", online(1));
    let found = [user("ann")].into();
    let touched = [user("bob")].into();
    assert_eq!(b.mirror.compare(&found, &touched, b.now), 1);
    let records = b.send();
    assert_eq!(
        records,
        [(user("dee"), online(1)), (user("cid"), online(1))]
    );
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [1, 1, 0, 0, 0]);
}

#[test]
fn whoever_is_missing_in_the_database_and_flaps_in_that_moment_is_written() {
    let mut b = Bench::new(400);
    b.mirror.adopt(&user("ann"), online(1));
    b.want("ann", offline(5));
    b.mirror.compare(&HashSet::new(), &HashSet::new(), b.now);
    b.want("ann", online(6));
    assert_eq!(b.send(), [(user("ann"), online(6))]);
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [2, 1, 1, 0, 0]);
}

#[test]
fn what_is_found_says_nothing_of_a_write_that_may_still_land() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.send();
    b.settle(Outcome::Ambiguous);
    assert!(!b.mirror.adopt(&user("ann"), online(1)));
    assert_eq!(b.send(), [(user("ann"), online(1))]);
}

#[test]
fn what_is_confirmed_is_not_found_anew() {
    let mut b = Bench::new(400);
    assert!(b.mirror.adopt(&user("ann"), online(1)));
    assert!(!b.mirror.adopt(&user("ann"), offline(2)));
    assert_eq!(b.send(), []);
}

#[test]
fn in_a_hurry_nothing_waits_for_company() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    assert_eq!(b.wait_of_the_next(), Some(MS * 250));
    b.mirror.hurry();
    assert_eq!(b.wait_of_the_next(), Some(Duration::ZERO));
}

#[test]
fn the_mirror_tells_how_far_behind_it_is() {
    let mut b = Bench::new(400);
    let begun = b.now;
    assert!(b.mirror.is_empty() && b.mirror.unwritten() == 0 && b.mirror.oldest().is_none());
    b.want("ann", online(1));
    b.wait(100);
    b.want("ben", online(2));
    assert_eq!((b.mirror.len(), b.mirror.unwritten()), (2, 2));
    assert!(!b.mirror.is_empty());
    assert_eq!(b.mirror.oldest(), Some(begun));
    b.send();
    assert_eq!(b.mirror.oldest(), Some(begun), "under way is not yet there");
    b.settle(Outcome::NotSent);
    assert!(b.mirror.degraded());
    assert_eq!(b.mirror.blocked_until(), Some(b.now + MS * 500));
    assert_eq!(b.mirror.oldest(), Some(begun));
    b.send();
    b.settle(Outcome::Written);
    assert!(!b.mirror.degraded());
    assert_eq!(b.mirror.blocked_until(), None);
    assert_eq!((b.mirror.unwritten(), b.mirror.oldest()), (0, None));
}
