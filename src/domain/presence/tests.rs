use super::*;
use crate::domain::time::invented::{at, instant};
use std::collections::BTreeMap;

pub(super) const GRACE_MS: u64 = 10_000;
const PHONE: ConnectionId = ConnectionId(1);
const LAPTOP: ConnectionId = ConnectionId(2);

pub(super) fn book() -> PresenceBook {
    PresenceBook::new(Duration::from_millis(GRACE_MS))
}

fn ann() -> UserId {
    UserId::parse("ann").unwrap()
}

pub(super) fn user(n: usize) -> UserId {
    UserId::parse(&format!("user-{n}")).unwrap()
}

pub(super) fn online(user: &UserId, since: u64) -> Transition {
    Transition {
        user: user.clone(),
        kind: TransitionKind::Online {
            since: UnixMillis(since),
        },
    }
}

pub(super) fn offline(user: &UserId, last_seen: u64) -> Transition {
    Transition {
        user: user.clone(),
        kind: TransitionKind::Offline {
            last_seen: UnixMillis(last_seen),
        },
    }
}

/// Unix time that is not where the monotonic clock would put it.
pub(super) fn at_unix(ms: u64, unix: u64) -> Moment {
    Moment {
        unix: UnixMillis(unix),
        ..at(ms)
    }
}

#[test]
fn first_connection_brings_the_user_online() {
    let mut book = book();
    assert!(!book.is_online(&ann()));
    let connected = book.connected(&ann(), PHONE, at(5));
    assert_eq!(connected, Connected::First(online(&ann(), 5)));
    assert!(book.is_online(&ann()));
    assert_eq!((book.online(), book.lingering()), (1, 0));
    assert_eq!(book.next_deadline(), None);
    assert!(!book.is_empty());
}

#[test]
fn second_device_keeps_the_user_online() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    assert_eq!(book.connected(&ann(), LAPTOP, at(1)), Connected::Another);
    book.disconnected(&ann(), PHONE, at(2));
    assert_eq!((book.online(), book.lingering()), (1, 0));
    assert_eq!(book.next_deadline(), None);
    assert_eq!(book.expire(instant(1_000_000)), []);
    let since = UnixMillis(0);
    assert_eq!(book.presence(&ann()), Some(Presence::Online { since }));
}

#[test]
fn offline_comes_when_the_grace_is_over_and_is_dated_by_the_last_close() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    book.disconnected(&ann(), PHONE, at(100));
    assert_eq!((book.online(), book.lingering()), (0, 1));
    assert!(book.is_online(&ann()));
    assert_eq!(book.next_deadline(), Some(instant(100 + GRACE_MS)));
    assert_eq!(book.expire(instant(100 + GRACE_MS - 1)), []);
    assert_eq!(book.expire(instant(100 + GRACE_MS)), [offline(&ann(), 100)]);
    assert!(!book.is_online(&ann()));
    assert!(book.is_empty());
    assert_eq!(book.expire(instant(1_000_000)), []);
}

#[test]
fn reconnect_within_grace_is_silent() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    book.disconnected(&ann(), PHONE, at(100));
    assert_eq!(book.connected(&ann(), LAPTOP, at(200)), Connected::Absorbed);
    assert_eq!((book.online(), book.lingering()), (1, 0));
    assert_eq!(book.expire(instant(1_000_000)), []);
    let since = UnixMillis(0);
    assert_eq!(book.presence(&ann()), Some(Presence::Online { since }));
}

#[test]
fn reconnect_after_the_deadline_but_before_its_collection_is_silent_too() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    book.disconnected(&ann(), PHONE, at(100));
    let late = 100 + GRACE_MS + 1;
    assert_eq!(book.connected(&ann(), PHONE, at(late)), Connected::Absorbed);
    assert_eq!(book.expire(instant(late)), []);
}

#[test]
fn reconnect_after_the_grace_is_a_new_arrival() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    book.disconnected(&ann(), PHONE, at(100));
    book.expire(instant(20_000));
    let connected = book.connected(&ann(), PHONE, at(20_001));
    assert_eq!(connected, Connected::First(online(&ann(), 20_001)));
}

#[test]
fn each_close_starts_a_grace_of_its_own() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    book.disconnected(&ann(), PHONE, at(100));
    book.connected(&ann(), PHONE, at(5_000));
    book.disconnected(&ann(), PHONE, at(6_000));
    assert_eq!(book.expire(instant(100 + GRACE_MS)), []);
    assert_eq!(
        book.expire(instant(6_000 + GRACE_MS)),
        [offline(&ann(), 6_000)]
    );
}

#[test]
fn a_close_heard_only_after_a_standstill_begins_its_grace_then() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    book.stood_still(Duration::from_secs(30), instant(30_100));
    book.disconnected(&ann(), PHONE, at(50));
    assert_eq!(book.next_deadline(), Some(instant(30_100 + GRACE_MS)));
    assert_eq!(
        book.expire(instant(30_100 + GRACE_MS)),
        [offline(&ann(), 50)]
    );
}

#[test]
fn repeated_opening_of_one_connection_counts_once() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    assert_eq!(book.connected(&ann(), PHONE, at(1)), Connected::Another);
    book.disconnected(&ann(), PHONE, at(2));
    assert_eq!((book.online(), book.lingering()), (0, 1));
}

#[test]
fn repeated_close_does_not_prolong_the_grace() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    book.disconnected(&ann(), PHONE, at(100));
    book.disconnected(&ann(), PHONE, at(900));
    assert_eq!(book.next_deadline(), Some(instant(100 + GRACE_MS)));
    assert_eq!(book.expire(instant(50_000)), [offline(&ann(), 100)]);
    book.disconnected(&ann(), PHONE, at(60_000));
    assert!(book.is_empty());
}

#[test]
fn close_of_an_unknown_connection_changes_nothing() {
    let mut book = book();
    book.disconnected(&ann(), PHONE, at(0));
    assert!(book.is_empty());
    book.connected(&ann(), PHONE, at(1));
    book.disconnected(&ann(), LAPTOP, at(2));
    assert_eq!((book.online(), book.lingering()), (1, 0));
}

#[test]
fn offline_is_never_dated_before_online() {
    let mut book = book();
    book.connected(&ann(), PHONE, at_unix(0, 5_000));
    book.disconnected(&ann(), PHONE, at_unix(1, 4_000));
    assert_eq!(book.expire(instant(50_000)), [offline(&ann(), 5_000)]);
}

#[test]
fn adopted_user_who_does_not_come_back_goes_offline_as_of_the_record() {
    let mut book = book();
    book.adopted(&ann(), UnixMillis(42), instant(30_000));
    assert!(book.is_online(&ann()));
    assert_eq!((book.online(), book.lingering()), (0, 1));
    let seen = UnixMillis(42);
    let lingering = Presence::Lingering {
        since: seen,
        last_seen: seen,
    };
    assert_eq!(book.presence(&ann()), Some(lingering));
    assert_eq!(book.next_deadline(), Some(instant(30_000)));
    assert_eq!(book.expire(instant(29_999)), []);
    assert_eq!(book.expire(instant(30_000)), [offline(&ann(), 42)]);
    assert!(book.is_empty());
}

#[test]
fn adopted_user_who_comes_back_never_flaps() {
    let mut book = book();
    book.adopted(&ann(), UnixMillis(42), instant(30_000));
    assert_eq!(book.connected(&ann(), PHONE, at(100)), Connected::Absorbed);
    assert_eq!(book.expire(instant(30_000)), []);
    book.disconnected(&ann(), PHONE, at_unix(40_000, 7));
    assert_eq!(book.expire(instant(50_000)), [offline(&ann(), 42)]);
}

#[test]
fn adoption_leaves_known_users_alone() {
    let mut book = book();
    book.connected(&ann(), PHONE, at(0));
    book.adopted(&ann(), UnixMillis(42), instant(1));
    assert_eq!((book.online(), book.lingering()), (1, 0));
    book.disconnected(&ann(), PHONE, at(100));
    book.adopted(&ann(), UnixMillis(42), instant(1));
    assert_eq!(book.lingering(), 1);
    assert_eq!(book.expire(instant(50_000)), [offline(&ann(), 100)]);
}

#[test]
fn offlines_come_in_the_order_of_their_deadlines() {
    let mut book = book();
    book.adopted(&user(1), UnixMillis(1), instant(300));
    book.adopted(&user(2), UnixMillis(2), instant(100));
    book.adopted(&user(3), UnixMillis(3), instant(200));
    book.adopted(&user(4), UnixMillis(4), instant(400));
    let gone = [
        offline(&user(2), 2),
        offline(&user(3), 3),
        offline(&user(1), 1),
    ];
    assert_eq!(book.expire(instant(399)), gone);
    assert_eq!(book.lingering(), 1);
}

#[test]
fn iteration_tells_everybody_and_how_they_stand() {
    let mut book = book();
    book.connected(&user(1), PHONE, at(1));
    book.connected(&user(2), LAPTOP, at(2));
    book.disconnected(&user(2), LAPTOP, at(3));
    let found: BTreeMap<_, _> = book.iter().map(|(u, p)| (u.clone(), p)).collect();
    let since = UnixMillis(2);
    let last_seen = UnixMillis(3);
    let expected = BTreeMap::from([
        (
            user(1),
            Presence::Online {
                since: UnixMillis(1),
            },
        ),
        (user(2), Presence::Lingering { since, last_seen }),
    ]);
    assert_eq!(book.iter().len(), 2);
    assert_eq!(found, expected);
}

#[test]
fn memory_returns_to_zero_when_everybody_is_gone() {
    let mut book = book();
    for n in 0..1_000 {
        book.adopted(&user(n), UnixMillis(1), instant(1));
    }
    assert_eq!(book.expire(instant(1)).len(), 1_000);
    assert!(book.is_empty());
    assert_eq!(book.users.capacity(), 0);
    assert!(book.deadlines.is_empty());
}

#[test]
fn memory_shrinks_when_a_crowd_has_gone_and_leaves_room_for_as_many_again() {
    let mut book = book();
    for n in 0..1_000 {
        let waves = u64::from(n >= 700) + u64::from(n >= 900);
        book.adopted(&user(n), UnixMillis(1), instant(waves));
    }
    assert_eq!(book.expire(instant(0)).len(), 700);
    assert!(
        book.users.capacity() > 1_000,
        "three in ten are still a crowd"
    );
    assert_eq!(book.expire(instant(1)).len(), 200);
    assert_eq!(book.iter().len(), 100);
    let left = book.users.capacity();
    assert!((200..400).contains(&left), "{left}");
}
