//! The mirror against a naive model of the database: requests that fail in every way, land late,
//! or meet a poisonous record.

use super::*;
use crate::domain::time::UnixMillis;
use proptest::prelude::*;
use std::time::Duration;

const USERS: u8 = 12;
const BATCH_USERS: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    Want(u8, bool),
    Wait(u16),
    /// Ends the flight, if there is one.
    Settle(Fate),
    /// Runs the reads that are due; `true`: they fail.
    Recheck(bool),
    /// Starts a read and answers it only after some other steps.
    SlowRead,
    Beat(bool),
}

#[derive(Clone, Debug)]
enum Fate {
    Written,
    NotSent,
    Busy(u16),
    Denied,
    /// Lands after so many milliseconds, if at all.
    Ambiguous(Option<u16>),
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Written),
        2 => Just(Fate::NotSent),
        1 => (0..5_000u16).prop_map(Fate::Busy),
        1 => Just(Fate::Denied),
        4 => proptest::option::of(0..29_000u16).prop_map(Fate::Ambiguous),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..USERS, any::<bool>()).prop_map(|(u, on)| Step::Want(u, on)),
        6 => (0..2_000u16).prop_map(Step::Wait),
        1 => (0..40_000u16).prop_map(Step::Wait),
        6 => fates().prop_map(Step::Settle),
        2 => any::<bool>().prop_map(Step::Recheck),
        1 => Just(Step::SlowRead),
        1 => any::<bool>().prop_map(Step::Beat),
    ]
}

struct World {
    mirror: Mirror,
    now: Instant,
    ticks: u64,
    poison: Option<UserId>,
    truth: HashMap<UserId, Record>,
    database: HashMap<UserId, Record>,
    late: Vec<(Instant, Vec<(UserId, Record)>)>,
    flying: Option<Batch>,
    slow: Vec<(Recheck, Found)>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "some instant must be the first")]
    fn new(poison: Option<u8>) -> Self {
        let limits = Limits {
            batch_users: BATCH_USERS,
            ..Limits::default()
        };
        Self {
            mirror: Mirror::new(limits),
            now: Instant::now(),
            ticks: 0,
            poison: poison.map(name),
            truth: HashMap::new(),
            database: HashMap::new(),
            late: Vec::new(),
            flying: None,
            slow: Vec::new(),
        }
    }

    fn wait(&mut self, until: Instant) {
        self.now = self.now.max(until);
        let now = self.now;
        self.late.sort_by_key(|(at, _)| *at);
        while self.late.first().is_some_and(|(at, _)| *at <= now) {
            let (_, records) = self.late.remove(0);
            self.database.extend(records);
        }
    }

    fn send(&mut self) {
        let Some(batch) = self.mirror.next_batch(self.now) else {
            return;
        };
        assert!(self.flying.is_none(), "one in flight");
        assert!(!batch.records.is_empty() && batch.records.len() <= BATCH_USERS);
        let mut users: Vec<_> = batch.records.iter().map(|(u, _)| u.clone()).collect();
        users.sort();
        users.dedup();
        assert_eq!(users.len(), batch.records.len(), "each user once");
        self.flying = Some(batch);
    }

    fn settle(&mut self, fate: &Fate) {
        let Some(batch) = self.flying.take() else {
            return;
        };
        let poison = self.poison.as_ref();
        let poisoned = batch.records.iter().any(|(u, _)| Some(u) == poison);
        let outcome = match fate {
            Fate::Written if poisoned => Outcome::BadData,
            Fate::Written => {
                self.database.extend(batch.records);
                Outcome::Written
            }
            Fate::NotSent => Outcome::NotSent,
            Fate::Busy(ms) => Outcome::Busy {
                retry_after: Some(millis(*ms)),
            },
            Fate::Denied => Outcome::Denied,
            Fate::Ambiguous(landing) => {
                if let (Some(ms), false) = (landing, poisoned) {
                    self.late.push((self.now + millis(*ms), batch.records));
                }
                Outcome::Ambiguous
            }
        };
        self.mirror.settle(outcome, self.now, 0.5);
        self.wait(self.now);
    }

    fn read(&self, recheck: &Recheck) -> Found {
        let record = self.database.get(&recheck.user);
        record.map_or(Found::Nothing, |r| Found::Record(*r))
    }

    fn recheck(&mut self, fails: bool) {
        for recheck in self.mirror.next_rechecks(self.now, 3) {
            let found = if fails {
                Found::Unknown
            } else {
                self.read(&recheck)
            };
            self.mirror.observe(&recheck, found, self.now);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Want(u, on) => {
                self.ticks += 1;
                let record = Record {
                    online: *on,
                    last_seen: UnixMillis(self.ticks),
                };
                self.mirror.want(&name(*u), record, self.now);
                self.truth.insert(name(*u), record);
            }
            Step::Wait(ms) => self.wait(self.now + millis(*ms)),
            Step::Settle(fate) => self.settle(fate),
            Step::Recheck(fails) => self.recheck(*fails),
            Step::SlowRead => {
                for (recheck, found) in std::mem::take(&mut self.slow) {
                    self.mirror.observe(&recheck, found, self.now);
                }
                let rechecks = self.mirror.next_rechecks(self.now, 2);
                self.slow = rechecks
                    .into_iter()
                    .map(|r| (r.clone(), self.read(&r)))
                    .collect();
            }
            Step::Beat(true) => self.mirror.reached(self.now),
            Step::Beat(false) => self.mirror.missed(Outcome::NotSent, self.now, 0.5),
        }
        self.send();
        self.check();
    }

    /// What must hold after every step.
    fn check(&self) {
        let b = self.mirror.balance();
        assert_eq!(b.accepted, b.written + b.coalesced + b.pending + b.parked);
        let (pending, parked) = self.mirror.recount();
        assert_eq!((b.pending, b.parked), (pending, parked));
        assert_eq!(self.flying.is_some(), self.mirror.flight.is_some());
        let due = self.mirror.next_deadline();
        assert!(
            due.is_none_or(|due| due > self.now),
            "something due was not sent"
        );
    }

    /// No more transitions, and a database that answers.
    fn come_to_rest(&mut self) {
        self.step(&Step::SlowRead);
        self.step(&Step::SlowRead);
        for _ in 0..10_000 {
            self.settle(&Fate::Written);
            self.recheck(false);
            self.step(&Step::SlowRead);
            self.step(&Step::SlowRead);
            if self.flying.is_some() || !self.slow.is_empty() {
                continue;
            }
            let deadlines = [self.mirror.next_deadline(), self.mirror.recheck_deadline()];
            match deadlines.into_iter().flatten().min() {
                Some(due) => self.wait(due),
                None => return,
            }
            self.send();
        }
        panic!("never comes to rest");
    }
}

impl Mirror {
    fn recount(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for entry in self.users.values() {
            match entry.place {
                Place::Queued(ticket) => counts.0 += u64::from(ticket.owed),
                Place::Parked { owed } => counts.1 += u64::from(owed),
                Place::Settled => {}
            }
        }
        let flying = self.flight.iter().flat_map(|f| &f.items);
        counts.0 += flying.map(|i| u64::from(i.ticket.owed)).sum::<u64>();
        counts
    }
}

fn name(u: u8) -> UserId {
    UserId::parse(&format!("u{u}")).unwrap()
}

fn millis(ms: u16) -> Duration {
    Duration::from_millis(u64::from(ms))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_database_ends_at_the_last_wanted_state(
        steps in proptest::collection::vec(steps(), 1..160),
        poison in proptest::option::weighted(0.3, 0..USERS),
    ) {
        let mut world = World::new(poison);
        for step in &steps {
            world.step(step);
        }
        world.come_to_rest();
        prop_assert_eq!(world.mirror.balance().pending, 0);
        for (user, wanted) in &world.truth {
            if world.poison.as_ref() == Some(user) {
                continue;
            }
            let found = world.database.get(user);
            prop_assert!(found.is_some_and(|f| f.agrees(*wanted)), "{user:?}: {found:?} is not {wanted:?}");
        }
        let online = world.truth.values().filter(|r| r.online).count();
        prop_assert!(world.mirror.len() <= online + usize::from(world.poison.is_some()));
    }

    #[test]
    fn a_user_who_returns_within_the_window_is_never_written(
        flaps in proptest::collection::vec(0..USERS, 1..80),
    ) {
        let mut world = World::new(None);
        for u in 0..USERS {
            world.step(&Step::Want(u, true));
        }
        world.come_to_rest();
        let written = world.mirror.balance().written;
        for u in flaps {
            world.step(&Step::Want(u, false));
            world.step(&Step::Wait(240));
            world.step(&Step::Want(u, true));
        }
        world.come_to_rest();
        prop_assert_eq!(world.mirror.balance().written, written);
    }
}
