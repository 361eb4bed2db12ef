//! The book against a naive model, and its invariants over any history.

use super::tests::{GRACE_MS, at_unix, book, offline, online, user};
use super::*;
use crate::domain::time::invented::{at, instant};
use proptest::prelude::*;
use std::collections::BTreeMap;

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
    play_with_standstills(book, steps, &[])
}

/// The same, where the process stands still for so long before each step.
fn play_with_standstills(
    book: &mut PresenceBook,
    steps: &[Step],
    standstills: &[u64],
) -> Vec<(usize, Transition)> {
    let mut said = Vec::new();
    let mut ms = 0;
    for (index, step) in steps.iter().enumerate() {
        if let Some(lost) = standstills.get(index).filter(|lost| **lost > 0) {
            ms += lost;
            book.stood_still(Duration::from_millis(*lost), instant(ms));
        }
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
    fn time_lost_in_a_standstill_is_given_back_and_no_more(
        steps in steps(),
        lost in prop::collection::vec(prop_oneof![Just(0), 0..100_000_u64], 60),
    ) {
        let heard = play_with_standstills(&mut book(), &steps, &lost);
        prop_assert_eq!(heard, play(&mut book(), &steps));
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
