//! Two whole mirrors race on one database: an old process that does not know yet that it is
//! replaced, and its successor. Requests are lost, reordered and land late; answers are lost too.

use super::*;
use crate::domain::ids::UserId;
use crate::domain::mirror::{Limits, Mirror, Outcome, Record};
use crate::domain::time::UnixMillis;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

const RACES: u64 = 10_000;
/// Races that show a protection missing; far fewer do.
const SABOTAGED: u64 = 1_000;
const USERS: u8 = 4;
const STEPS: usize = 90;
const OLD: usize = 0;
const NEW: usize = 1;

/// What is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    Nothing,
    /// Batches carry no epoch.
    Fence,
    /// After an unknown outcome the old epoch is kept.
    Bump,
}

struct Process {
    mirror: Mirror,
    claim: Claim,
    /// The request whose answer is waited for.
    waits_for: Option<u64>,
    wanted: HashMap<UserId, Record>,
}

enum Request {
    Batch {
        epoch: Option<u64>,
        records: Vec<(UserId, Record)>,
    },
    Take {
        expected: Option<FenceRecord>,
        record: FenceRecord,
    },
}

struct World {
    rng: StdRng,
    sabotage: Sabotage,
    now: Instant,
    ticks: u64,
    fence: Option<FenceRecord>,
    presence: HashMap<UserId, Record>,
    /// On their way, by the order in which they were sent.
    sent: BTreeMap<u64, (usize, Request)>,
    processes: [Process; 2],
    /// The latest batch that was accepted.
    newest: u64,
    /// Batches accepted after one that was sent later.
    stale: usize,
    deposed: bool,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "some instant must be the first")]
    fn new(seed: u64, sabotage: Sabotage) -> Self {
        let limits = Limits {
            batch_users: 3,
            ..Limits::default()
        };
        let process = |boot: &str| Process {
            mirror: Mirror::new(limits),
            claim: Claim::new(boot.to_owned()),
            waits_for: None,
            wanted: HashMap::new(),
        };
        Self {
            rng: StdRng::seed_from_u64(seed),
            sabotage,
            now: Instant::now(),
            ticks: 0,
            fence: None,
            presence: HashMap::new(),
            sent: BTreeMap::new(),
            processes: [process("old"), process("new")],
            newest: 0,
            stale: 0,
            deposed: false,
        }
    }

    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn want(&mut self, who: usize) {
        let user = UserId::parse(&format!("u{}", self.rng.random_range(0..USERS))).unwrap();
        let record = Record {
            online: self.rng.random(),
            last_seen: UnixMillis(self.tick()),
        };
        let now = self.now;
        let process = &mut self.processes[who];
        process.mirror.want(&user, record, now);
        process.wanted.insert(user, record);
    }

    /// The process does what is due, if it waits for nothing.
    fn act(&mut self, who: usize) {
        let (now, id, nonce) = (self.now, self.tick(), self.rng.random());
        let fenced = self.sabotage != Sabotage::Fence;
        let process = &mut self.processes[who];
        if process.waits_for.is_some() || process.claim.is_deposed() {
            return;
        }
        if fenced && process.claim.epoch().is_none() {
            self.read_fence(who, id, nonce);
        } else if let Some(batch) = process.mirror.next_batch(now) {
            process.waits_for = Some(id);
            let batch = Request::Batch {
                epoch: process.claim.epoch().filter(|_| fenced),
                records: batch.records,
            };
            self.sent.insert(id, (who, batch));
        }
    }

    fn read_fence(&mut self, who: usize, id: u64, nonce: u64) {
        let expected = self.fence.clone();
        let process = &mut self.processes[who];
        match process.claim.found(expected.as_ref(), nonce) {
            Verdict::Propose(record) => {
                process.waits_for = Some(id);
                let take = Request::Take { expected, record };
                self.sent.insert(id, (who, take));
            }
            Verdict::Deposed => self.deposed = true,
            Verdict::Held(_) => {}
            Verdict::Exhausted => panic!("far from it"),
        }
    }

    /// One request arrives, not necessarily the oldest.
    fn arrive(&mut self, answered: bool) {
        let which = self.rng.random_range(0..self.sent.len().max(1));
        let Some(id) = self.sent.keys().nth(which).copied() else {
            return;
        };
        let (who, request) = self.sent.remove(&id).unwrap();
        let accepted = match &request {
            Request::Batch { epoch, records } => self.land(id, *epoch, records),
            Request::Take { expected, record } => {
                let matches = self.fence == *expected;
                if matches {
                    self.fence = Some(record.clone());
                }
                matches
            }
        };
        let heard = answered && self.processes[who].waits_for == Some(id);
        if heard {
            self.processes[who].waits_for = None;
            self.hear(who, &request, accepted);
        }
    }

    fn land(&mut self, id: u64, epoch: Option<u64>, records: &[(UserId, Record)]) -> bool {
        // The rule, as in firebase/database.rules.json.
        if epoch.is_some() && epoch != self.fence.as_ref().map(|fence| fence.epoch) {
            return false;
        }
        if id < self.newest {
            self.stale += 1;
        }
        self.newest = self.newest.max(id);
        self.presence.extend(records.iter().cloned());
        true
    }

    fn hear(&mut self, who: usize, request: &Request, accepted: bool) {
        let (now, id, nonce) = (self.now, self.tick(), self.rng.random());
        let process = &mut self.processes[who];
        match (request, accepted) {
            (Request::Batch { .. }, true) => process.mirror.settle(Outcome::Written, now, 0.5),
            (Request::Batch { .. }, false) => {
                process.mirror.settle(Outcome::NotSent, now, 0.5);
                self.read_fence(who, id, nonce);
            }
            (Request::Take { record, .. }, true) => {
                process.claim.accepted(record);
            }
            (Request::Take { .. }, false) => {}
        }
    }

    /// The process gives up waiting.
    fn give_up(&mut self, who: usize) {
        let now = self.now;
        let process = &mut self.processes[who];
        if process.waits_for.take().is_none() {
            return;
        }
        // Without effect if a compare-and-set was waited for: then nothing is in flight.
        match self.sabotage {
            Sabotage::Nothing => {
                process.claim.doubt();
                process.mirror.settle(Outcome::Barred, now, 0.5);
            }
            Sabotage::Bump => process.mirror.settle(Outcome::Barred, now, 0.5),
            Sabotage::Fence => process.mirror.settle(Outcome::Ambiguous, now, 0.5),
        }
    }

    fn step(&mut self, newcomer: bool) {
        let who = if newcomer && self.rng.random() {
            NEW
        } else {
            OLD
        };
        self.now += Duration::from_millis(self.rng.random_range(0..800));
        match self.rng.random_range(0..100) {
            0..30 => self.want(who),
            30..58 => self.act(who),
            58..84 => {
                let answered = self.rng.random_bool(0.7);
                self.arrive(answered);
            }
            84..95 => self.give_up(who),
            _ => {
                // Lost on its way.
                self.sent.pop_first();
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let new = &self.processes[NEW];
        self.sent.is_empty() && new.waits_for.is_none() && new.mirror.next_deadline().is_none()
    }

    /// A race, and what follows when nobody moves any more and everything still on its way arrives.
    fn run(mut self) -> Self {
        // The old process is established before anything goes wrong.
        self.act(OLD);
        self.arrive(true);
        let start = self.rng.random_range(0..STEPS);
        for step in 0..STEPS {
            self.step(step >= start);
        }
        for _ in 0..2_000 {
            self.now += Duration::from_secs(1);
            self.act(NEW);
            self.act(OLD);
            let answered = self.rng.random_bool(0.9);
            self.arrive(answered);
            for who in [OLD, NEW] {
                let process = &self.processes[who];
                let lost = process
                    .waits_for
                    .is_some_and(|id| !self.sent.contains_key(&id));
                if lost || self.rng.random_bool(0.1) {
                    self.give_up(who);
                }
            }
            if self.is_at_rest() {
                return self;
            }
        }
        panic!("never comes to rest");
    }

    fn says_what_the_successor_wants(&self) -> bool {
        self.processes[NEW].wanted.iter().all(|(user, wanted)| {
            let found = self.presence.get(user);
            found.is_some_and(|found| found.agrees(*wanted))
        })
    }
}

#[test]
fn behind_the_fence_no_stale_batch_is_ever_accepted() {
    let mut deposed = 0;
    for seed in 0..RACES {
        let world = World::new(seed, Sabotage::Nothing).run();
        assert_eq!(world.stale, 0, "seed {seed}");
        assert!(world.says_what_the_successor_wants(), "seed {seed}");
        deposed += u64::from(world.deposed);
    }
    assert!(deposed > RACES / 4, "the races are races: {deposed}");
}

#[test]
fn without_the_fence_stale_batches_are_accepted() {
    assert!(stale_in(Sabotage::Fence) > 0);
}

#[test]
fn without_a_new_epoch_after_an_unknown_outcome_stale_batches_are_accepted() {
    assert!(stale_in(Sabotage::Bump) > 0);
}

fn stale_in(sabotage: Sabotage) -> usize {
    let races = (0..SABOTAGED).map(|seed| World::new(seed, sabotage).run());
    races.filter(|world| world.stale > 0).count()
}
