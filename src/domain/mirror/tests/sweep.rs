//! The sweep: its pace, and what it puts right.

use super::*;
use crate::domain::mirror::sweep::{Passage, Stretch, Sweep, compare_keys};
use proptest::prelude::*;
use std::cmp::Ordering;
use std::collections::HashSet;

const INTERVAL: Duration = Duration::from_mins(5);
const BUDGET: usize = 1_000_000;

fn begin() -> (Sweep, Instant) {
    let start = crate::domain::time::invented::instant(0);
    (Sweep::new(INTERVAL, start), start)
}

fn stretch(after: Option<&str>, most: usize) -> Stretch {
    Stretch {
        after: after.map(str::to_owned),
        most,
    }
}

#[test]
fn a_small_database_is_one_page_an_interval() {
    let (mut sweep, start) = begin();
    assert_eq!(sweep.due(), start + INTERVAL);
    assert_eq!(
        sweep.next(start + INTERVAL - Duration::from_millis(1)),
        None
    );
    for round in 1..4 {
        let now = start + INTERVAL * round;
        assert_eq!(sweep.due(), now);
        assert_eq!(sweep.next(now), Some(stretch(None, 1_000)));
        sweep.passed(10, 1_000, None, now);
    }
}

#[test]
fn a_large_one_is_resumed_where_the_budget_ended() {
    let (mut sweep, start) = begin();
    let now = start + INTERVAL;
    assert_eq!(sweep.next(now).unwrap().after, None);
    sweep.passed(1_000, BUDGET / 2, Some("k".to_owned()), now);
    assert_eq!(sweep.due(), now, "half of the budget is left");
    // Records are larger than thought: as many as fit.
    assert_eq!(sweep.next(now), Some(stretch(Some("k"), 1_000)));
    sweep.passed(200, BUDGET / 4, Some("m".to_owned()), now);
    assert_eq!(sweep.next(now), Some(stretch(Some("m"), 200)));
    sweep.passed(200, BUDGET / 4, Some("p".to_owned()), now);
    assert_eq!(sweep.due(), now + INTERVAL, "nothing is left");
    assert_eq!(sweep.next(now), None);
    let later = now + INTERVAL;
    assert_eq!(sweep.next(later).unwrap().after.as_deref(), Some("p"));
    sweep.passed(3, 300, None, later);
    assert_eq!(sweep.due(), later + INTERVAL, "one round is enough");
    assert_eq!(sweep.next(later + INTERVAL).unwrap().after, None);
}

#[test]
fn what_was_read_too_much_is_waited_off() {
    for (bytes, intervals) in [
        (BUDGET, 1),
        (BUDGET + 1, 2),
        (3 * BUDGET, 3),
        (4 * BUDGET, 4),
    ] {
        let (mut sweep, start) = begin();
        let now = start + INTERVAL;
        sweep.next(now).unwrap();
        sweep.passed(1_000, bytes, Some("k".to_owned()), now);
        assert_eq!(sweep.due(), now + INTERVAL * intervals, "{bytes}");
    }
}

#[test]
fn a_page_has_a_least_and_a_most_size() {
    let (mut sweep, start) = begin();
    let now = start + INTERVAL;
    sweep.next(now).unwrap();
    sweep.passed(10, 999_000, Some("k".to_owned()), now);
    assert_eq!(sweep.next(now), Some(stretch(Some("k"), 50)));
    sweep.passed(0, 2, None, now);
    assert_eq!(sweep.next(now + INTERVAL).unwrap().most, 50);
    sweep.passed(50, 50, None, now + INTERVAL);
    assert_eq!(sweep.next(now + 2 * INTERVAL).unwrap().most, 1_000);
}

#[test]
fn a_page_that_cannot_be_read_is_asked_for_in_the_next_interval() {
    let (mut sweep, start) = begin();
    let now = start + INTERVAL;
    sweep.next(now).unwrap();
    sweep.passed(10, 1_000, Some("k".to_owned()), now);
    sweep.next(now).unwrap();
    sweep.failed();
    assert_eq!(sweep.due(), now + INTERVAL);
    let again = sweep.next(now + INTERVAL).unwrap();
    assert_eq!(again.after.as_deref(), Some("k"));
}

#[test]
fn keys_that_are_numbers_come_first_and_by_number() {
    let sorted = [
        "-5",
        "-0",
        "7",
        "007",
        "10",
        "2147483647",
        "+1",
        "2147483648",
        "A",
        "a",
        "a%2E",
        "aa",
    ];
    for (i, a) in sorted.iter().enumerate() {
        for (j, b) in sorted.iter().enumerate() {
            assert_eq!(compare_keys(a, b), i.cmp(&j), "{a} and {b}");
        }
    }
    assert_eq!(compare_keys("", ""), Ordering::Equal);
    assert_eq!(compare_keys("-", "1"), Ordering::Greater);
}

/// A mirror with these users confirmed online, and the time.
fn confirmed(users: &[&str]) -> (Mirror, Instant) {
    let mut mirror = Mirror::new(Limits::default());
    for name in users {
        mirror.adopt(&user(name), online(1));
    }
    (mirror, crate::domain::time::invented::instant(0))
}

fn passage(through: Option<&str>, records: &[(&str, Record)]) -> Passage {
    Passage {
        through: through.map(str::to_owned),
        records: records.iter().map(|(u, r)| (user(u), *r)).collect(),
    }
}

/// What is written next, sorted.
fn written(mirror: &mut Mirror, now: Instant) -> Vec<(UserId, Record)> {
    let Some(due) = mirror.next_deadline() else {
        return Vec::new();
    };
    let mut records = mirror.next_batch(due.max(now)).unwrap().records;
    mirror.settle(Outcome::Written, now, 0.5);
    records.sort_by(|(a, _), (b, _)| a.cmp(b));
    records
}

#[test]
fn whoever_should_be_online_and_is_not_is_written_within_the_stretch() {
    let (mut mirror, now) = confirmed(&["a", "b", "c", "d", "e"]);
    let found = passage(Some("d"), &[("c", offline(9)), ("d", online(3))]);
    let wrong = mirror.sweep(Some("a"), &found, &HashSet::new(), true, now);
    assert_eq!(wrong, 2, "b is missing, c is offline; a and e lie outside");
    let records = written(&mut mirror, now);
    assert_eq!(records, [(user("b"), online(1)), (user("c"), online(1))]);
    assert_eq!(mirror.balance(), Balance::default(), "no transition waited");
}

#[test]
fn a_stranger_online_is_written_offline_by_whoever_is_alone() {
    for alone in [true, false] {
        let (mut mirror, now) = confirmed(&[]);
        let found = passage(None, &[("x", online(7)), ("y", offline(8))]);
        let wrong = mirror.sweep(None, &found, &HashSet::new(), alone, now);
        assert_eq!(wrong, usize::from(alone));
        let records = written(&mut mirror, now);
        if alone {
            assert_eq!(records, [(user("x"), offline(7))]);
        } else {
            assert_eq!(records, []);
        }
        assert!(mirror.is_empty(), "nobody is remembered for it");
    }
}

#[test]
fn a_stranger_who_comes_before_the_correction_stays_online() {
    let (mut mirror, now) = confirmed(&[]);
    let found = passage(None, &[("x", online(7))]);
    mirror.sweep(None, &found, &HashSet::new(), true, now);
    mirror.want(&user("x"), online(9), now);
    assert_eq!(written(&mut mirror, now), [], "it says so already");
    assert_eq!(mirror.len(), 1);
    let balance = mirror.balance();
    assert_eq!((balance.accepted, balance.coalesced), (1, 1));
}

#[test]
fn whoever_is_touched_flying_waiting_parked_or_in_doubt_is_left_out() {
    let (mut mirror, now) = confirmed(&["a"]);
    let touched = HashSet::from([user("a"), user("x")]);
    let found = passage(None, &[("x", online(7))]);
    assert_eq!(mirror.sweep(None, &found, &touched, true, now), 0);

    let (mut mirror, now) = confirmed(&[]);
    mirror.want(&user("b"), online(1), now);
    let nothing = passage(None, &[]);
    assert_eq!(mirror.sweep(None, &nothing, &HashSet::new(), true, now), 0);
    let due = mirror.next_deadline().unwrap();
    mirror.next_batch(due).unwrap();
    assert_eq!(mirror.flying().collect::<Vec<_>>(), [&user("b")]);
    assert_eq!(mirror.sweep(None, &nothing, &HashSet::new(), true, now), 0);
    mirror.settle(Outcome::Ambiguous, due, 0.5);
    assert_eq!(mirror.flying().count(), 0);
    let due = mirror.next_deadline().unwrap();
    mirror.next_batch(due).unwrap();
    mirror.settle(Outcome::Written, due, 0.5);
    assert!(mirror.recheck_deadline().is_some(), "in doubt");
    assert_eq!(mirror.sweep(None, &nothing, &HashSet::new(), true, due), 0);
}

#[test]
fn the_parked_get_another_chance_and_stay_in_the_balance() {
    let (mut mirror, now) = confirmed(&[]);
    mirror.want(&user("p"), online(1), now);
    let due = mirror.next_deadline().unwrap();
    mirror.next_batch(due).unwrap();
    mirror.settle(Outcome::BadData, due, 0.5);
    assert_eq!((mirror.balance().parked, mirror.balance().pending), (1, 0));
    let nothing = passage(None, &[]);
    assert_eq!(mirror.sweep(None, &nothing, &HashSet::new(), true, due), 0);
    assert_eq!(mirror.retry_parked(due), 1);
    assert_eq!((mirror.balance().parked, mirror.balance().pending), (0, 1));
    assert_eq!(mirror.retry_parked(due), 0);
    assert_eq!(written(&mut mirror, due), [(user("p"), online(1))]);
    assert_eq!(mirror.balance().written, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_round_makes_the_database_equal_to_the_truth_and_the_next_finds_nothing(
        truth in proptest::collection::btree_set(0..40_u8, 0..30),
        stored in proptest::collection::btree_map(0..40_u8, any::<bool>(), 0..40),
        page in 1..9_usize,
    ) {
        // Keys of both kinds: numbers and names.
        let name = |n: &u8| user(&if n.is_multiple_of(2) { n.to_string() } else { format!("u{n}") });
        let mut database: Vec<(UserId, Record)> = stored
            .iter()
            .map(|(n, on)| (name(n), Record { online: *on, ..online(5) }))
            .collect();
        database.sort_by(|(a, _), (b, _)| compare_keys(&a.to_key(), &b.to_key()));
        let now = crate::domain::time::invented::instant(0);
        let mut mirror = Mirror::new(Limits::default());
        for n in &truth {
            mirror.adopt(&name(n), online(5));
        }
        let round = |mirror: &mut Mirror, database: &[(UserId, Record)]| {
            let (mut after, mut wrong) = (None::<String>, 0);
            for records in database.chunks(page).chain(std::iter::once(&[][..])) {
                let through = records.last().map(|(u, _)| u.to_key());
                let passage = Passage { through: through.clone(), records: records.iter().cloned().collect() };
                wrong += mirror.sweep(after.as_deref(), &passage, &HashSet::new(), true, now);
                after = through;
            }
            wrong
        };
        let expected = (0..40_u8).filter(|n| {
            let is = stored.get(n).copied().unwrap_or(false);
            is != truth.contains(n)
        });
        prop_assert_eq!(round(&mut mirror, &database), expected.count());
        for (user, record) in written(&mut mirror, now) {
            database.retain(|(u, _)| *u != user);
            database.push((user, record));
        }
        database.sort_by(|(a, _), (b, _)| compare_keys(&a.to_key(), &b.to_key()));
        prop_assert_eq!(round(&mut mirror, &database), 0);
        for n in 0..40_u8 {
            let is = database.iter().any(|(u, r)| *u == name(&n) && r.online);
            prop_assert_eq!(is, truth.contains(&n));
        }
        prop_assert_eq!(mirror.len(), truth.len());
    }
}
