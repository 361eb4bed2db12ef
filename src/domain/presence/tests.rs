use super::*;
use crate::domain::time::invented::{at, instant};
use proptest::prelude::*;
use std::collections::BTreeMap;

const GRACE_MS: u64 = 10_000;
const PHONE: ConnectionId = ConnectionId(1);
const LAPTOP: ConnectionId = ConnectionId(2);

fn book() -> PresenceBook {
    PresenceBook::new(Duration::from_millis(GRACE_MS))
}

fn ann() -> UserId {
    UserId::parse("ann").unwrap()
}

fn user(n: usize) -> UserId {
    UserId::parse(&format!("user-{n}")).unwrap()
}

fn online(user: &UserId, since: u64) -> Transition {
    Transition {
        user: user.clone(),
        kind: TransitionKind::Online {
            since: UnixMillis(since),
        },
    }
}

fn offline(user: &UserId, last_seen: u64) -> Transition {
    Transition {
        user: user.clone(),
        kind: TransitionKind::Offline {
            last_seen: UnixMillis(last_seen),
        },
    }
}

/// Unix time that is not where the monotonic clock would put it.
fn at_unix(ms: u64, unix: u64) -> Moment {
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
        let waves = u64::from(n >= 500) + u64::from(n >= 900);
        book.adopted(&user(n), UnixMillis(1), instant(waves));
    }
    assert_eq!(book.expire(instant(0)).len(), 500);
    assert!(
        book.users.capacity() > 1_000,
        "half of them are still a crowd"
    );
    assert_eq!(book.expire(instant(1)).len(), 400);
    assert_eq!(book.iter().len(), 100);
    let left = book.users.capacity();
    assert!((200..400).contains(&left), "{left}");
}

/// One fact, and how much later it happens than the one before.
#[derive(Clone, Debug)]
struct Step {
    after_ms: u64,
    /// Arbitrary: the wall clock may jump.
    unix: u64,
    fact: Fact,
}

#[derive(Clone, Debug)]
enum Fact {
    Connected(usize, u64),
    Disconnected(usize, u64),
    Adopted(usize, u64, u64),
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fact = prop_oneof![
        4 => (0..3_usize, 0..3_u64).prop_map(|(u, c)| Fact::Connected(u, c)),
        5 => (0..3_usize, 0..3_u64).prop_map(|(u, c)| Fact::Disconnected(u, c)),
        1 => (0..3_usize, 0..1_000_u64, 0..20_000_u64).prop_map(|(u, s, d)| Fact::Adopted(u, s, d)),
        3 => Just(Fact::Expire),
    ];
    let after_ms = prop_oneof![Just(0), 0..2_000_u64, Just(GRACE_MS), 0..15_000_u64];
    let step = (after_ms, 0..1_000_u64, fact).prop_map(|(after_ms, unix, fact)| Step {
        after_ms,
        unix,
        fact,
    });
    prop::collection::vec(step, 0..60)
}

/// The rule as a person would keep it: a sheet for each user, and no index.
#[derive(Default)]
struct Sheet {
    open: Vec<u64>,
    since: u64,
    /// Deadline in milliseconds, and what to say then.
    lingers: Option<(u64, u64)>,
}

#[derive(Default)]
struct Model(BTreeMap<usize, Sheet>);

impl Model {
    fn connected(&mut self, n: usize, connection: u64, unix: u64) -> Connected {
        if let Some(sheet) = self.0.get_mut(&n) {
            sheet.open.retain(|c| *c != connection);
            sheet.open.push(connection);
            return match sheet.lingers.take() {
                Some(_) => Connected::Absorbed,
                None => Connected::Another,
            };
        }
        let sheet = Sheet {
            open: vec![connection],
            since: unix,
            lingers: None,
        };
        self.0.insert(n, sheet);
        Connected::First(online(&user(n), unix))
    }

    fn disconnected(&mut self, n: usize, connection: u64, ms: u64, unix: u64) {
        if let Some(sheet) = self.0.get_mut(&n)
            && sheet.open == [connection]
        {
            sheet.lingers = Some((ms + GRACE_MS, std::cmp::max(unix, sheet.since)));
        }
        if let Some(sheet) = self.0.get_mut(&n) {
            sheet.open.retain(|c| *c != connection);
        }
    }

    fn adopted(&mut self, n: usize, seen: u64, until: u64) {
        self.0.entry(n).or_insert(Sheet {
            open: vec![],
            since: seen,
            lingers: Some((until, seen)),
        });
    }

    fn expire(&mut self, ms: u64) -> Vec<Transition> {
        let mut over: Vec<_> = self
            .0
            .iter()
            .filter_map(|(n, sheet)| sheet.lingers.map(|(until, seen)| (until, *n, seen)))
            .filter(|(until, ..)| *until <= ms)
            .collect();
        over.sort_unstable();
        for (_, n, _) in &over {
            self.0.remove(n);
        }
        over.iter()
            .map(|(_, n, s)| offline(&user(*n), *s))
            .collect()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.0.values().filter_map(|sheet| sheet.lingers);
        deadlines.map(|(until, _)| instant(until)).min()
    }

    fn lingering(&self) -> usize {
        self.0.values().filter(|s| s.lingers.is_some()).count()
    }
}

/// Plays the steps; what the book said comes out, each with the step's index.
fn play(book: &mut PresenceBook, steps: &[Step]) -> Vec<(usize, Transition)> {
    let mut said = Vec::new();
    let mut ms = 0;
    for (index, step) in steps.iter().enumerate() {
        ms += step.after_ms;
        let now = at_unix(ms, step.unix);
        match step.fact {
            Fact::Connected(n, c) => {
                if let Connected::First(t) = book.connected(&user(n), ConnectionId(c), now) {
                    said.push((index, t));
                }
            }
            Fact::Disconnected(n, c) => book.disconnected(&user(n), ConnectionId(c), now),
            Fact::Adopted(n, seen, delay) => {
                book.adopted(&user(n), UnixMillis(seen), instant(ms + delay));
            }
            Fact::Expire => said.extend(book.expire(now.instant).into_iter().map(|t| (index, t))),
        }
    }
    said
}

/// The connections that are open after these steps.
fn open_after(steps: &[Step], n: usize) -> usize {
    let mut open = BTreeSet::new();
    for step in steps {
        match step.fact {
            Fact::Connected(m, c) if m == n => {
                open.insert(c);
            }
            Fact::Disconnected(m, c) if m == n => {
                open.remove(&c);
            }
            Fact::Connected(..) | Fact::Disconnected(..) | Fact::Adopted(..) | Fact::Expire => {}
        }
    }
    open.len()
}

proptest! {
    #[test]
    fn book_agrees_with_the_naive_model(steps in steps()) {
        let mut book = book();
        let mut model = Model::default();
        let mut ms = 0;
        for step in steps {
            ms += step.after_ms;
            let now = at_unix(ms, step.unix);
            match step.fact {
                Fact::Connected(n, c) => prop_assert_eq!(
                    book.connected(&user(n), ConnectionId(c), now),
                    model.connected(n, c, step.unix)
                ),
                Fact::Disconnected(n, c) => {
                    book.disconnected(&user(n), ConnectionId(c), now);
                    model.disconnected(n, c, ms, step.unix);
                }
                Fact::Adopted(n, seen, delay) => {
                    book.adopted(&user(n), UnixMillis(seen), instant(ms + delay));
                    model.adopted(n, seen, ms + delay);
                }
                Fact::Expire => {
                    prop_assert_eq!(book.expire(now.instant), model.expire(ms));
                }
            }
            prop_assert_eq!(book.next_deadline(), model.next_deadline());
            prop_assert_eq!(book.lingering(), model.lingering());
            prop_assert_eq!(book.online(), model.0.len() - model.lingering());
            prop_assert_eq!(book.is_empty(), model.0.is_empty());
            for n in 0..3 {
                prop_assert_eq!(book.is_online(&user(n)), model.0.contains_key(&n));
            }
        }
    }

    #[test]
    fn transitions_of_a_user_alternate(steps in steps()) {
        let said = play(&mut book(), &steps);
        for n in 0..3 {
            let kinds: Vec<bool> = said
                .iter()
                .filter(|(_, t)| t.user == user(n))
                .map(|(_, t)| matches!(t.kind, TransitionKind::Online { .. }))
                .collect();
            // An adoption stands for the Online that another process told.
            let adopted = steps.iter().any(|s| matches!(s.fact, Fact::Adopted(m, ..) if m == n));
            if !adopted {
                prop_assert!(kinds.first().is_none_or(|online| *online));
                prop_assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]));
            }
            prop_assert!(kinds.windows(2).all(|pair| !(pair[0] && pair[1])), "Online twice");
        }
    }

    #[test]
    fn nobody_with_an_open_connection_goes_offline(steps in steps()) {
        for (index, transition) in play(&mut book(), &steps) {
            if let TransitionKind::Offline { .. } = transition.kind {
                let n = (0..3).find(|n| user(*n) == transition.user).unwrap();
                prop_assert_eq!(open_after(&steps[..index], n), 0);
            }
        }
    }

    #[test]
    fn repeated_and_unknown_closes_change_nothing(steps in steps()) {
        let mut noisy = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            noisy.push(step.clone());
            for n in 0..3 {
                // Connection 99 never opened; connection 0 may be closed already.
                let closed = if open_after(&steps[..=index], n) == 0 { 0 } else { 99 };
                for connection in [99, closed] {
                    noisy.push(Step {
                        after_ms: 0,
                        unix: 999,
                        fact: Fact::Disconnected(n, connection),
                    });
                }
            }
        }
        let strip = |said: Vec<(usize, Transition)>| -> Vec<Transition> {
            said.into_iter().map(|(_, transition)| transition).collect()
        };
        let quiet = strip(play(&mut book(), &steps));
        prop_assert_eq!(strip(play(&mut book(), &noisy)), quiet);
    }

    #[test]
    fn nothing_is_left_of_those_who_are_gone(steps in steps()) {
        let mut book = book();
        play(&mut book, &steps);
        for n in 0..3 {
            for c in 0..3 {
                book.disconnected(&user(n), ConnectionId(c), at(10_000_000));
            }
        }
        book.expire(instant(10_000_000 + GRACE_MS));
        prop_assert!(book.is_empty());
        prop_assert_eq!((book.online(), book.lingering()), (0, 0));
        prop_assert_eq!(book.next_deadline(), None);
        prop_assert_eq!(book.users.capacity(), 0);
    }
}
