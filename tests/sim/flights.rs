//! Which request of a process starts when, and what its outcome means: the decisions of
//! `services::mirror`, line by line, without its task.

use crate::database::{Answers, Boot, Effect, Landing, Request, number_of};
use crate::fence::Gate;
use crate::sea::{Protection, Sea};
use presence_bridge::domain::ids::UserId;
use presence_bridge::domain::mirror::{
    Found, Limits, Mirror, Outcome, Recheck, Record, Stretch, Sweep,
};
use presence_bridge::domain::time::UnixMillis;
use presence_bridge::services::mirror::Process;
use presence_bridge::services::ports::NodeBeat;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

const FIRST_LOOK: Duration = Duration::from_secs(10);
const FAREWELL_MS: u64 = 500;
/// The default `DRAIN_TIMEOUT` of 8 s, less the sessions' share.
const DRAIN_MS: u64 = 4_000;
/// The default `PRESENCE_SWEEP_INTERVAL`.
const SWEEP: Duration = Duration::from_mins(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Batch,
    Beat,
    Look,
    Fence,
}

impl Kind {
    fn turns(self) -> [Self; 4] {
        match self {
            Self::Batch => [Self::Fence, Self::Beat, Self::Look, Self::Batch],
            Self::Beat => [Self::Look, Self::Batch, Self::Fence, Self::Beat],
            Self::Look => [Self::Batch, Self::Fence, Self::Beat, Self::Look],
            Self::Fence => [Self::Beat, Self::Look, Self::Batch, Self::Fence],
        }
    }
}

/// A request under way: when it is answered, and with what.
pub(crate) struct Flight<T> {
    pub(super) answered_ms: u64,
    pub(super) outcome: Outcome,
    pub(super) carries: T,
}

/// The answer to a sweep's reads.
pub(crate) struct Page {
    pub(super) begun_ms: u64,
    pub(super) stretch: Stretch,
    pub(super) records: HashMap<UserId, Record>,
    pub(super) beats: Vec<NodeBeat>,
}

pub(crate) struct Flights {
    pub(super) boot: Boot,
    pub(crate) me: Process,
    pub(crate) core: Mirror,
    /// Adopted users on their way to the book.
    pub(crate) outgoing: Vec<(UserId, UnixMillis)>,
    pub(super) write: Option<Flight<u64>>,
    batches: u64,
    pub(super) beat: Option<Flight<UnixMillis>>,
    pub(super) look: Option<Flight<(Answers, UnixMillis)>>,
    pub(super) reread: Option<Flight<Vec<(Recheck, Found)>>>,
    pub(super) page: Option<Flight<Page>>,
    pub(super) sweep: Option<Sweep>,
    /// When the last complete sweep began to read.
    pub(crate) swept_ms: Option<u64>,
    pub(super) burial: Option<Flight<()>>,
    pub(crate) gate: Gate,
    /// When others last heard of us, and whether they may have taken us for dead since.
    pub(super) last_sign: Option<Instant>,
    pub(super) doubtful: bool,
    patient_until: Instant,
    pub(super) next_beat: Option<Instant>,
    pub(super) next_look: Option<Instant>,
    pub(super) database_time: Option<(UnixMillis, Instant)>,
    pub(super) waited_for: BTreeSet<Process>,
    pub(super) touched: HashSet<UserId>,
    last_probe: Kind,
    pub(super) tried: bool,
    /// Whoever was to be adopted at start is.
    pub(super) adopted: bool,
    pub(super) drain_until: Option<Instant>,
}

impl Flights {
    pub(crate) fn new(boot: Boot, me: Process, sea: &Sea) -> Self {
        let now = sea.instant();
        let limits = Limits {
            batch_users: sea.setup.batch_users,
            ..Limits::default()
        };
        Self {
            boot,
            me,
            core: Mirror::new(limits),
            outgoing: Vec::new(),
            write: None,
            batches: 0,
            beat: None,
            look: None,
            reread: None,
            page: None,
            sweep: sea.has(Protection::Sweep).then(|| Sweep::new(SWEEP, now)),
            swept_ms: None,
            burial: None,
            gate: Gate::new(boot, sea),
            last_sign: None,
            doubtful: false,
            patient_until: now + FIRST_LOOK,
            next_beat: Some(now),
            next_look: None,
            database_time: None,
            waited_for: BTreeSet::new(),
            touched: HashSet::new(),
            last_probe: Kind::Look,
            tried: false,
            adopted: !sea.has(Protection::Adoption),
            drain_until: None,
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        let idle = self.write.is_none() && self.look.is_none() && self.reread.is_none();
        let idle = idle && self.page.is_none();
        let waits = self.core.next_deadline().is_some() || self.core.recheck_deadline().is_some();
        idle && !waits
            && self.gate.is_quiet()
            && self.burial.is_none()
            && self.next_look.is_none()
            && self.adopted
    }

    pub(crate) fn wake_ms(&self, sea: &Sea) -> Option<u64> {
        let answers = [
            self.write.as_ref().map(|f| f.answered_ms),
            self.beat.as_ref().map(|f| f.answered_ms),
            self.look.as_ref().map(|f| f.answered_ms),
            self.reread.as_ref().map(|f| f.answered_ms),
            self.burial.as_ref().map(|f| f.answered_ms),
            self.page.as_ref().map(|f| f.answered_ms),
            self.gate.answered_ms(),
        ];
        let start = self.wake().map(|at| sea.ms_of(at));
        answers.into_iter().flatten().chain(start).min()
    }

    fn wake(&self) -> Option<Instant> {
        let turns = Kind::Batch.turns().into_iter();
        let kinds = turns.filter_map(|kind| self.due(kind));
        let next = match self.core.blocked_until() {
            None => kinds.chain(self.reread_due()).chain(self.sweep_due()).min(),
            Some(_) if self.is_asking() => None,
            Some(blocked) => kinds.min().map(|due| due.max(blocked)),
        };
        next.into_iter().chain(self.drain_until).min()
    }

    pub(crate) fn want(&mut self, user: &UserId, record: Record, sea: &mut Sea) {
        self.core.want(user, record, sea.instant());
        sea.ledger
            .wanted(self.boot, number_of(user), record, sea.now_ms);
    }

    pub(crate) fn start_due(&mut self, sea: &mut Sea) {
        let now = sea.instant();
        self.mind_silence(now, sea);
        let Some(blocked) = self.core.blocked_until() else {
            for kind in Kind::Batch.turns() {
                self.start(kind, sea);
            }
            self.start_reread(sea);
            self.start_sweep(sea);
            return;
        };
        if blocked > now || self.is_asking() {
            return;
        }
        for kind in self.last_probe.turns() {
            if self.start(kind, sea) {
                self.last_probe = kind;
                return;
            }
        }
    }

    /// Whether what is written now may be newer than what is being read.
    fn is_reading(&self, sea: &Sea) -> bool {
        let reads = self.look.is_some() || self.page.is_some();
        reads && sea.has(Protection::Touched)
    }

    fn is_asking(&self) -> bool {
        self.write.is_some() || self.beat.is_some() || self.look.is_some() || self.gate.is_asking()
    }

    fn due(&self, kind: Kind) -> Option<Instant> {
        match kind {
            Kind::Batch | Kind::Look if !self.gate.is_open() => None,
            Kind::Batch if self.doubtful => None,
            Kind::Fence => self.gate.due().filter(|_| self.write.is_none()),
            Kind::Batch if self.tried => self.core.next_deadline(),
            Kind::Batch => Some(self.core.next_deadline()?.max(self.patient_until)),
            Kind::Beat => self.next_beat.filter(|_| self.beat.is_none()),
            Kind::Look => self
                .next_look
                .filter(|_| self.look.is_none() && self.page.is_none()),
        }
    }

    pub(super) fn reread_due(&self) -> Option<Instant> {
        let free = self.reread.is_none() && self.drain_until.is_none();
        self.core.recheck_deadline().filter(|_| free)
    }

    fn start(&mut self, kind: Kind, sea: &mut Sea) -> bool {
        let now = sea.instant();
        if self.due(kind).is_none_or(|due| due > now) {
            return false;
        }
        match kind {
            Kind::Batch => self.start_batch(now, sea),
            Kind::Beat => self.start_beat(sea),
            Kind::Look => self.start_look(now, sea),
            Kind::Fence => {
                self.gate.ask(self.boot, sea);
                true
            }
        }
    }

    fn start_batch(&mut self, now: Instant, sea: &mut Sea) -> bool {
        let Some(batch) = self.core.next_batch(now) else {
            return false;
        };
        sea.ledger.sent(self.boot, &batch.records, sea.now_ms);
        if self.is_reading(sea) {
            let users = batch.records.iter().map(|(user, _)| user.clone());
            self.touched.extend(users);
        }
        let plan = sea.database.plan(Request::Write, sea.now_ms);
        if let Some(at) = plan.lands_ms {
            let batch = Landing {
                boot: self.boot,
                number: self.batches,
                node: self.me.node.clone(),
                epoch: self.gate.epoch(),
                records: batch.records,
            };
            sea.database.at(at, Effect::Commit(batch));
        }
        self.write = Some(Flight {
            answered_ms: plan.answered_ms,
            outcome: plan.outcome,
            carries: self.batches,
        });
        self.batches += 1;
        true
    }

    fn start_beat(&mut self, sea: &mut Sea) -> bool {
        let plan = sea.database.plan(Request::Beat, sea.now_ms);
        if let Some(at) = plan.lands_ms {
            sea.database.at(at, Effect::Beat(self.me.clone()));
        }
        let landing = plan.lands_ms.unwrap_or(sea.now_ms);
        self.beat = Some(Flight {
            answered_ms: plan.answered_ms,
            outcome: plan.outcome,
            carries: sea.database.time(landing),
        });
        true
    }

    /// A batch reached the database, and was refused by its rules.
    pub(crate) fn is_refused(&mut self, batch: u64) {
        if let Some(write) = self.write.as_mut().filter(|f| f.carries == batch)
            && write.outcome == Outcome::Written
        {
            write.outcome = Outcome::Denied;
        }
    }

    pub(crate) fn begin_drain(&mut self, sea: &mut Sea) {
        let now = sea.instant();
        self.drain_until = Some(now + Duration::from_millis(DRAIN_MS));
        self.core.hurry();
        self.core.reached(now);
        self.next_beat = None;
        self.next_look = self.doubtful.then_some(now);
        self.look = None;
        self.reread = None;
        self.page = None;
        self.burial = None;
        self.outgoing.clear();
        self.tried = true;
    }

    pub(crate) fn is_drained(&self, sea: &Sea) -> bool {
        let Some(until) = self.drain_until else {
            return false;
        };
        let nothing_to_write = self.core.next_deadline().is_none() || self.gate.is_deposed();
        let idle = self.write.is_none() && nothing_to_write;
        idle || until <= sea.instant()
    }

    /// Removes the own heartbeat, after one under way was answered.
    pub(crate) fn say_farewell(&mut self, sea: &mut Sea) {
        let until = self.drain_until.map_or(sea.now_ms, |at| sea.ms_of(at));
        let patience = until.max(sea.now_ms + FAREWELL_MS);
        let from = self.beat.as_ref().map_or(sea.now_ms, |f| f.answered_ms);
        if from > patience {
            return;
        }
        let plan = sea.database.plan(Request::Other, sea.now_ms);
        if let Some(at) = plan.lands_ms {
            let at = at + (from - sea.now_ms);
            sea.database.at(at, Effect::Forget(self.me.clone()));
        }
    }
}
