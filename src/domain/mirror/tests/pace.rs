//! How fast batches follow each other after the database asked for a rest.

use super::*;

/// A mirror with so many full batches to send.
fn crowded(batches: usize) -> Bench {
    let mut b = Bench::new(1);
    for n in 0..batches {
        b.want(&format!("u{n}"), online(1));
    }
    b.wait(1_000);
    b
}

#[test]
fn each_time_the_database_asks_for_a_rest_batches_follow_half_as_fast() {
    let mut b = crowded(400);
    let busy = Outcome::Busy { retry_after: None };
    for pause in [500, 1_000, 2_000, 4_000, 8_000, 8_000] {
        b.send();
        b.settle(busy);
        // Long enough for any back-off, and no time for the pace to ease.
        b.send();
        b.settle(Outcome::Written);
        let wait = b.wait_of_the_next().unwrap();
        assert!(wait <= MS * pause, "{wait:?} of {pause}");
        assert!(wait >= MS * pause / 2, "{wait:?} of {pause}");
    }
}

#[test]
fn a_minute_without_complaint_is_full_speed_again() {
    let mut b = crowded(400);
    for _ in 0..5 {
        b.send();
        b.settle(Outcome::Busy { retry_after: None });
    }
    let complained = b.now;
    let mut waits = Vec::new();
    while b.wait_of_the_next() != Some(Duration::ZERO) {
        assert_eq!(b.send().len(), 1);
        b.settle(Outcome::Written);
        waits.push(b.wait_of_the_next().unwrap());
    }
    assert!(waits.is_sorted_by(|slow, fast| slow >= fast), "{waits:?}");
    assert!(waits.len() > 20, "slowly faster: {waits:?}");
    assert!(b.now - complained <= Duration::from_mins(1));
}

#[test]
fn in_a_hurry_no_pace_is_kept() {
    let mut b = crowded(3);
    b.send();
    let retry_after = Some(Duration::from_secs(1));
    b.settle(Outcome::Busy { retry_after });
    b.send();
    b.settle(Outcome::Written);
    assert!(b.mirror.next_deadline() > Some(b.now));
    b.mirror.hurry();
    assert!(b.mirror.next_deadline() <= Some(b.now));
}
