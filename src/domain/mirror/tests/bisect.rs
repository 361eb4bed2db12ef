//! Poisonous records.

use super::*;

/// Sends until nothing is due, refusing every batch with one of `poison`; returns the requests.
fn send_all(b: &mut Bench, poison: &[UserId]) -> usize {
    let mut requests = 0;
    while b.mirror.next_deadline().is_some() {
        let records = b.send();
        let bad = records.iter().any(|(u, _)| poison.contains(u));
        b.settle(if bad {
            Outcome::BadData
        } else {
            Outcome::Written
        });
        requests += 1;
    }
    requests
}

#[test]
fn one_poisonous_record_is_parked_alone_within_log_n_requests() {
    for position in [0, 1, 7, 199, 200, 398, 399] {
        let mut b = Bench::new(400);
        let names: Vec<UserId> = (0..400).map(|n| user(&format!("u{n}"))).collect();
        for name in &names {
            b.mirror.want(name, online(1), b.now);
        }
        let requests = send_all(&mut b, &names[position..=position]);
        // The batch, the search in 9 halvings, and one for those acquitted unheard.
        assert!(requests <= 11, "{requests} requests for {position}");
        assert_eq!(b.balance(), [400, 399, 0, 0, 1]);
        assert_eq!(b.mirror.unwritten(), 1);
    }
}

#[test]
fn several_poisonous_records_are_parked_and_the_others_land() {
    let mut b = Bench::new(50);
    let names: Vec<UserId> = (0..200).map(|n| user(&format!("u{n}"))).collect();
    for name in &names {
        b.mirror.want(name, online(1), b.now);
    }
    let poison = [3, 4, 77, 198].map(|n: usize| names[n].clone());
    send_all(&mut b, &poison);
    assert_eq!(b.balance(), [200, 196, 0, 0, 4]);
}

#[test]
fn a_newer_state_gets_a_parked_user_another_chance() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.send();
    b.settle(Outcome::BadData);
    assert_eq!(b.balance(), [1, 0, 0, 0, 1]);
    assert_eq!(b.mirror.next_deadline(), None);
    b.want("ann", offline(2));
    assert_eq!(b.send(), [(user("ann"), offline(2))]);
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [2, 1, 1, 0, 0]);
}

#[test]
fn a_record_that_changed_during_the_search_is_tried_before_it_is_parked() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.want("bob", online(1));
    b.send();
    b.settle(Outcome::BadData);
    b.want("bob", offline(2));
    assert_eq!(b.send(), [(user("ann"), online(1))]);
    b.settle(Outcome::Written);
    assert_eq!(b.send(), [(user("bob"), offline(2))]);
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [3, 2, 1, 0, 0]);
}

#[test]
fn a_search_interrupted_by_an_outage_goes_on() {
    let mut b = Bench::new(400);
    for name in ["ann", "bob", "cid", "dee"] {
        b.want(name, online(1));
    }
    b.send();
    b.settle(Outcome::BadData);
    assert_eq!(b.send().len(), 2);
    b.settle(Outcome::Ambiguous);
    assert_eq!(b.send().len(), 2);
    b.settle(Outcome::Written);
    assert_eq!(b.send(), [(user("cid"), online(1))]);
}

#[test]
fn a_database_that_refuses_everything_is_not_stormed() {
    let mut b = Bench::new(400);
    for n in 0..400 {
        b.want(&format!("u{n}"), online(1));
    }
    let start = b.now;
    let mut requests = 0;
    while b.now < start + Duration::from_mins(2) {
        b.send();
        b.settle(Outcome::BadData);
        requests += 1;
    }
    assert!(requests < 35, "{requests}");
}

#[test]
fn a_record_that_changed_while_it_was_refused_is_tried_before_it_is_parked() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.send();
    b.want("ann", offline(2));
    b.settle(Outcome::BadData);
    assert_eq!(b.send(), [(user("ann"), offline(2))]);
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [2, 1, 1, 0, 0]);
}

#[test]
fn nobody_else_changes_what_the_search_has_found() {
    let mut b = Bench::new(400);
    b.mirror.adopt(&user("cid"), online(1));
    b.want("ann", online(1));
    b.want("bob", online(1));
    b.send();
    b.settle(Outcome::BadData);
    b.want("cid", offline(2));
    b.want("cid", online(3));
    assert_eq!(b.send(), [(user("ann"), online(1))]);
    b.settle(Outcome::Written);
    assert_eq!(b.balance(), [4, 1, 2, 0, 1], "bob needs no trial");
}

#[test]
fn a_suspect_who_needs_no_write_any_more_leaves_the_search() {
    let mut b = Bench::new(400);
    b.mirror.adopt(&user("ann"), online(1));
    b.want("ann", offline(2));
    for name in ["bob", "cid", "dee"] {
        b.want(name, online(1));
    }
    b.send();
    b.settle(Outcome::BadData);
    b.want("ann", online(3));
    let half = [(user("bob"), online(1)), (user("cid"), online(1))];
    assert_eq!(b.send(), half);
    b.settle(Outcome::Written);
    assert_eq!(b.send(), [(user("dee"), online(1))], "it may have been ann");
    b.settle(Outcome::BadData);
    assert_eq!(b.balance(), [5, 2, 2, 0, 1]);
}

#[test]
fn a_flap_during_the_search_acquits_nobody_else() {
    let mut b = Bench::new(400);
    b.want("ann", online(1));
    b.want("bob", online(1));
    b.want("cid", online(1));
    b.want("dee", online(1));
    b.send();
    b.settle(Outcome::BadData);
    assert_eq!(b.send().len(), 2);
    b.want("ann", offline(2));
    b.want("ann", online(3));
    b.settle(Outcome::Written);
    assert_eq!(b.send(), [(user("cid"), online(1))], "half of those left");
}
