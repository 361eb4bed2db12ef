//! What was seen in a history, by a model too simple to be wrong, and the first broken promise.
//! The names of the promises are those of `docs/reliability.md`.

use crate::bridge::{GRACE_MS, START_GRACE_MS};
use crate::database::{Boot, number_of};
use crate::history::{USERS, Weather};
use presence_bridge::domain::ids::UserId;
use presence_bridge::domain::mirror::{Balance, Record};
use presence_bridge::domain::time::UnixMillis;
use std::fmt;
use std::ops::AddAssign;

/// The default `PRESENCE_FLUSH_INTERVAL`.
const WINDOW_MS: u64 = 250;
/// After this, whoever is connected has a record that says so.
const SETTLED_MS: u64 = 4_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// I1: in the end the database equals the truth.
    Convergence,
    /// I2: nobody who comes back within the grace is called offline.
    NoFlap,
    /// I3: the last transition is there, with its time.
    LastTransition,
    /// I5: nobody who is connected is called offline, or unknown for long.
    NoFalseOffline,
    /// I8: nobody is remembered who is gone.
    Memory,
    /// I13: every transition is accounted for.
    Balance,
    /// A user's transitions of one process alternate.
    Alternation,
    /// Only what is wanted now is sent.
    NothingStale,
    /// The sweep is a backstop: bugs and strangers aside, it finds nothing.
    NothingForTheSweep,
    /// When nothing happens, the processes come to rest.
    Rest,
}

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) promise: Promise,
    pub(crate) at_ms: u64,
    pub(crate) detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            promise,
            at_ms,
            detail,
        } = self;
        write!(f, "{promise:?} is broken at {at_ms} ms: {detail}")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) histories: u64,
    pub(crate) steps: u64,
    pub(crate) transitions: u64,
    /// Transitions that no other of the same user followed within the flush window.
    pub(crate) outlived: u64,
    pub(crate) batches: u64,
    /// Records committed.
    pub(crate) commits: u64,
    /// Batches that the fence kept out.
    pub(crate) refused: u64,
    /// Late landings found by reading again.
    pub(crate) put_right: u64,
    /// Records put right by a sweep.
    pub(crate) swept: u64,
    /// Histories that end with a wrong record which nothing but a sweep would find.
    pub(crate) left_to_the_sweep: u64,
    /// The longest time in which a connected user was not shown online.
    pub(crate) longest_hidden_ms: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.steps += other.steps;
        self.transitions += other.transitions;
        self.outlived += other.outlived;
        self.batches += other.batches;
        self.commits += other.commits;
        self.refused += other.refused;
        self.put_right += other.put_right;
        self.swept += other.swept;
        self.left_to_the_sweep += other.left_to_the_sweep;
        self.longest_hidden_ms = self.longest_hidden_ms.max(other.longest_hidden_ms);
    }
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) violation: Option<Violation>,
    pub(crate) figures: Figures,
    /// By boot.
    processes: Vec<[At; USERS]>,
    accepted: Vec<u64>,
    users: [Seen; USERS],
}

/// A user as seen at one process.
#[derive(Clone, Copy, Debug, Default)]
struct At {
    told: Option<bool>,
    adopted_ms: Option<u64>,
    opened_ms: Option<u64>,
    closed_ms: Option<u64>,
    wanted: Option<Record>,
    wanted_ms: Option<u64>,
}

/// A user as seen from above.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    ever: bool,
    /// One bit for each process.
    holders: u128,
    since: UnixMillis,
    departed: UnixMillis,
    hidden_since_ms: Option<u64>,
}

/// The process that tells a transition, and what it holds itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) boot: Boot,
    pub(crate) started_ms: u64,
    pub(crate) draining: bool,
    pub(crate) holds: bool,
}

/// Whether processes can be held to what they should know of each other: heartbeats and answers
/// arrive, nobody stands still.
fn judges_several(weather: Weather) -> bool {
    matches!(weather, Weather::Crashes | Weather::Deploys)
}

fn bit(boot: Boot) -> u128 {
    1 << (boot % 128)
}

impl Ledger {
    pub(crate) fn breaks(&mut self, promise: Promise, at_ms: u64, detail: impl Into<String>) {
        self.violation.get_or_insert(Violation {
            promise,
            at_ms,
            detail: detail.into(),
        });
    }

    pub(crate) fn started(&mut self, boot: Boot) {
        self.processes
            .resize(boot + 1, [const { At::NOTHING }; USERS]);
        self.accepted.resize(boot + 1, 0);
    }

    pub(crate) fn opened(&mut self, boot: Boot, user: usize, now_ms: u64) {
        self.processes[boot][user].opened_ms.get_or_insert(now_ms);
        let seen = &mut self.users[user];
        seen.ever = true;
        seen.holders |= bit(boot);
    }

    /// The last connection of a user at this process closed.
    pub(crate) fn closed(&mut self, boot: Boot, user: usize, unix: UnixMillis, now_ms: u64) {
        self.users[user].departed = unix;
        self.lost(boot, user, now_ms);
    }

    /// Like [`Ledger::closed`], but the process went with it.
    pub(crate) fn lost(&mut self, boot: Boot, user: usize, now_ms: u64) {
        let at = &mut self.processes[boot][user];
        at.closed_ms = Some(now_ms);
        at.opened_ms = None;
        self.users[user].holders &= !bit(boot);
    }

    /// Nobody is adopted whom an older process has served for a while. (A newer one cannot be
    /// told apart from its own late write.)
    pub(crate) fn adopted(&mut self, boot: Boot, user: usize, now: (u64, Weather)) {
        let (now_ms, weather) = now;
        self.processes[boot][user].adopted_ms = Some(now_ms);
        let mut older = self.processes[..boot].iter().map(|users| users[user]);
        let is_served = older.any(|at| at.opened_ms.is_some_and(|ms| ms + SETTLED_MS <= now_ms));
        if is_served && judges_several(weather) {
            let detail = format!("u{user} is adopted, but connected to an older process");
            self.breaks(Promise::NoFalseOffline, now_ms, detail);
        }
    }

    pub(crate) fn told(&mut self, own: Own, user: usize, record: Record, now: (u64, Weather)) {
        let (now_ms, weather) = now;
        let at = self.processes[own.boot][user];
        let was_online = at.told == Some(true);
        let was_adopted = at.adopted_ms.is_some() && !record.online;
        if record.online == was_online && !was_adopted {
            let detail = format!("u{user} is told twice to be online = {}", record.online);
            self.breaks(Promise::Alternation, now_ms, detail);
        }
        if record.online {
            self.users[user].since = record.last_seen;
        } else {
            self.check_offline(own, user, at, now_ms);
            if let Some(adopted_ms) = at.adopted_ms
                && judges_several(weather)
                && !own.draining
                && !was_online
            {
                self.check_adopted(own, user, adopted_ms, now_ms);
            }
        }
        let at = &mut self.processes[own.boot][user];
        at.told = Some(record.online);
        at.adopted_ms = None;
    }

    fn check_offline(&mut self, own: Own, user: usize, at: At, now_ms: u64) {
        if own.holds {
            let detail = format!("u{user} is called offline while connected");
            self.breaks(Promise::NoFalseOffline, now_ms, detail);
        }
        if own.draining {
            return;
        }
        let (since_ms, grace_ms) = match at.closed_ms {
            Some(closed_ms) => (closed_ms, GRACE_MS),
            None => (own.started_ms, START_GRACE_MS),
        };
        if now_ms < since_ms + grace_ms {
            let detail = format!(
                "u{user} is called offline {} ms after the close or start, the grace is {grace_ms} ms",
                now_ms - since_ms
            );
            self.breaks(Promise::NoFlap, now_ms, detail);
        }
    }

    /// Who was adopted and never came has had the grace since an older process let go.
    fn check_adopted(&mut self, own: Own, user: usize, adopted_ms: u64, now_ms: u64) {
        let older = self.processes[..own.boot].iter();
        let closed = older.filter_map(|users| users[user].closed_ms);
        let last_ms = closed.filter(|ms| *ms <= adopted_ms).max();
        if let Some(closed_ms) = last_ms.filter(|ms| now_ms < ms + GRACE_MS) {
            let detail = format!(
                "adopted u{user} is called offline {} ms after an older process closed its connection",
                now_ms - closed_ms
            );
            self.breaks(Promise::NoFlap, now_ms, detail);
        }
    }

    pub(crate) fn wanted(&mut self, boot: Boot, user: usize, record: Record, now_ms: u64) {
        self.accepted[boot] += 1;
        self.figures.transitions += 1;
        let at = &mut self.processes[boot][user];
        at.wanted = Some(record);
        if let Some(before_ms) = at.wanted_ms.replace(now_ms) {
            self.figures.outlived += u64::from(now_ms - before_ms >= WINDOW_MS);
        }
    }

    pub(crate) fn taken_over(&mut self, boot: Boot, user: usize, record: Record) {
        self.processes[boot][user].wanted = Some(record);
    }

    pub(crate) fn sent(&mut self, boot: Boot, records: &[(UserId, Record)], now_ms: u64) {
        self.figures.batches += 1;
        for (user, record) in records {
            let user = number_of(user);
            let wanted = self.processes[boot][user].wanted;
            // What the sweep puts right was forgotten here, and with it the time of departure.
            let fits = match wanted {
                Some(wanted) if self.figures.swept > 0 => wanted.online == record.online,
                Some(wanted) => wanted.agrees(*record),
                None => self.figures.swept > 0 && !record.online,
            };
            if !fits {
                let detail = format!("{record:?} is sent of u{user}, but {wanted:?} is wanted");
                self.breaks(Promise::NothingStale, now_ms, detail);
            }
        }
    }

    pub(crate) fn committed(&mut self, records: usize) {
        self.figures.commits += records as u64;
    }

    pub(crate) fn put_right(&mut self) {
        self.figures.put_right += 1;
    }

    /// A sweep finds nothing where nobody else writes and nothing lands late.
    pub(crate) fn swept(&mut self, corrected: usize, now_ms: u64, weather: Weather) {
        self.figures.swept += corrected as u64;
        if corrected > 0 && matches!(weather, Weather::Calm | Weather::Faults | Weather::Crashes) {
            let detail = format!("a sweep had to put {corrected} records right");
            self.breaks(Promise::NothingForTheSweep, now_ms, detail);
        }
    }

    pub(crate) fn weighed(&mut self, boot: Boot, balance: Balance, now_ms: u64) {
        let b = balance;
        let sum = b.written + b.coalesced + b.pending + b.parked;
        if b.accepted != sum || b.accepted != self.accepted[boot] {
            let detail = format!("{} were handed in, {b:?}", self.accepted[boot]);
            self.breaks(Promise::Balance, now_ms, detail);
        }
    }

    /// Whether a connected user is shown online, and for how long not.
    pub(crate) fn shown(&mut self, user: usize, online: bool, now_ms: u64, bound_ms: u64) {
        let seen = &mut self.users[user];
        if online || seen.holders == 0 {
            seen.hidden_since_ms = None;
            return;
        }
        let hidden_ms = now_ms - *seen.hidden_since_ms.get_or_insert(now_ms);
        let longest = &mut self.figures.longest_hidden_ms;
        *longest = hidden_ms.max(*longest);
        if hidden_ms > bound_ms {
            let detail = format!("u{user} is connected, but not shown for {hidden_ms} ms");
            self.breaks(Promise::NoFalseOffline, now_ms, detail);
        }
    }

    pub(crate) fn is_connected(&self, user: usize) -> bool {
        self.users[user].holders != 0
    }

    /// The record that an offline user must have left, where one process saw it all.
    pub(crate) fn last_departure(&self, user: usize) -> Option<UnixMillis> {
        let seen = self.users[user];
        seen.ever.then(|| seen.departed.max(seen.since))
    }

    /// The last transition of each user outlived its window.
    pub(crate) fn close(&mut self) {
        let all = self.processes.iter().flatten();
        let last = all.filter(|at| at.wanted_ms.is_some()).count();
        self.figures.outlived += last as u64;
    }
}

impl At {
    const NOTHING: Self = Self {
        told: None,
        adopted_ms: None,
        opened_ms: None,
        closed_ms: None,
        wanted: None,
        wanted_ms: None,
    };
}
