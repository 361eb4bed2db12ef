//! Late landings.

use super::*;

#[test]
fn a_late_landing_is_found_and_put_right() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.send();
    b.want("ann", offline(2));
    b.settle(Outcome::Ambiguous);
    let ambiguity = b.now;
    b.send();
    b.settle(Outcome::Written);
    let first = b.mirror.recheck_deadline().unwrap();
    assert_eq!(first, ambiguity + Duration::from_secs(5));
    let recheck = b.mirror.next_rechecks(first, 400).remove(0);
    assert!(!b.mirror.observe(&recheck, Found::Record(offline(2)), first));
    let second = b.mirror.recheck_deadline().unwrap();
    assert_eq!(second, ambiguity + Duration::from_secs(30));
    let recheck = b.mirror.next_rechecks(second, 400).remove(0);
    assert!(b.mirror.observe(&recheck, Found::Record(online(1)), second));
    b.now = second;
    b.want("ann", offline(2));
    assert_eq!(
        b.send(),
        [(user("ann"), offline(2))],
        "wanted again is not there again"
    );
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [3, 2, 1, 0, 0]);
}

#[test]
fn a_recheck_leaves_alone_what_somebody_else_wrote() {
    let mut b = Bench::new(400);
    b.want("ann", offline(2));
    b.send();
    b.settle(Outcome::Ambiguous);
    b.send();
    b.settle(Outcome::Written);
    for _ in 0..2 {
        b.now = b.mirror.recheck_deadline().unwrap();
        let recheck = b.mirror.next_rechecks(b.now, 400).remove(0);
        assert!(!b.mirror.observe(&recheck, Found::Record(online(7)), b.now));
    }
    assert_eq!(b.mirror.recheck_deadline(), None);
    assert!(b.mirror.is_empty());
}

#[test]
fn a_read_from_before_a_write_is_not_believed() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.send();
    b.settle(Outcome::Ambiguous);
    b.send();
    b.settle(Outcome::Written);
    b.now = b.mirror.recheck_deadline().unwrap();
    let recheck = b.mirror.next_rechecks(b.now, 400).remove(0);
    b.written("ann", offline(2));
    assert!(!b.mirror.observe(&recheck, Found::Record(online(1)), b.now));
    assert_eq!(b.wait_of_the_next(), None);
    assert!(b.mirror.recheck_deadline().is_some(), "it is read again");
}

/// Users whose write is in doubt and was repeated; the clock stands where they are to be read.
fn in_doubt(names: &[&str]) -> Bench {
    let mut b = Bench::new(400);
    for name in names {
        b.want(name, online(1));
    }
    b.send();
    b.settle(Outcome::Ambiguous);
    b.send();
    b.settle(Outcome::Written);
    b.now = b.mirror.recheck_deadline().unwrap();
    b
}

#[test]
fn no_more_are_read_at_once_than_asked_for() {
    let mut b = in_doubt(&["ann", "bob", "cid"]);
    assert_eq!(b.mirror.next_rechecks(b.now, 2).len(), 2);
    assert_eq!(b.mirror.next_rechecks(b.now, 2).len(), 1);
    assert_eq!(b.mirror.next_rechecks(b.now, 2).len(), 0);
}

#[test]
fn whoever_is_about_to_be_written_is_read_later() {
    let later = Duration::from_secs(5);
    let mut b = in_doubt(&["ann"]);
    b.want("ann", offline(2));
    assert_eq!(b.mirror.next_rechecks(b.now, 400), []);
    assert_eq!(b.mirror.recheck_deadline(), Some(b.now + later));
    b.send();
    b.now = b.mirror.recheck_deadline().unwrap();
    assert_eq!(b.mirror.next_rechecks(b.now, 400), [], "in flight");
    assert_eq!(b.mirror.recheck_deadline(), Some(b.now + later));
}

#[test]
fn a_read_that_failed_is_repeated() {
    let mut b = in_doubt(&["ann"]);
    let recheck = b.mirror.next_rechecks(b.now, 400).remove(0);
    assert_eq!(b.mirror.recheck_deadline(), None);
    assert!(!b.mirror.observe(&recheck, Found::Unknown, b.now));
    let again = b.now + Duration::from_secs(5);
    assert_eq!(b.mirror.recheck_deadline(), Some(again));
}

#[test]
fn what_is_refused_is_not_read() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.send();
    b.settle(Outcome::Ambiguous);
    assert!(b.mirror.recheck_deadline().is_some());
    b.send();
    b.settle(Outcome::BadData);
    assert_eq!(b.balance(), [1, 0, 0, 0, 1]);
    assert_eq!(b.mirror.recheck_deadline(), None);
}
