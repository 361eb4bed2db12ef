//! The task that makes `/presence` equal to the truth. It feeds [`Mirror`] with transitions and
//! carries out what comes back: batches, heartbeats, the adoption at start, reads after doubt.
//!
//! Every request is a future beside the loop, so the queue is drained while a write hangs. While
//! the database is out of reach, one request at a time asks for it, and the kinds take turns.

mod adoption;
mod fence;
mod flights;
mod publish;
mod silence;
mod sweep;

#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::domain::ids::UserId;
use crate::domain::mirror::{Limits, Mirror, Outcome, Sweep};
use crate::domain::time::UnixMillis;
use crate::services::ports::{BoxFuture, ReadError, Record, Records, WriteError};
use crate::telemetry::metrics::Metrics;
pub use adoption::{AdoptedUser, Adoption, Known, Process, adopt};
use fence::{Asked, Gate};
use flights::{Kind, Reread};
use publish::Publisher;
use silence::Life;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sweep::Swept;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Transitions that wait for the task; when it is full, whoever reports one waits.
const QUEUE_LENGTH: usize = 1_024;
/// Transitions taken in one go.
const BURST: usize = 256;
/// Adopted users handed on in one go.
const ADOPTED_CHUNK: usize = 1_000;
/// How often the mirror looks whether the other living processes have ended.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long batches wait for the first look, which may make them needless.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// A heartbeat is fresh for this many of its intervals.
const FRESH_INTERVALS: u32 = 3;
/// Time for removing one's own heartbeat when the drain has used up its own.
const FAREWELL: Duration = Duration::from_millis(500);

/// Users found online in the database, with the time of `lastSeen` should they not come back.
pub type Adopted = Vec<(UserId, UnixMillis)>;

#[derive(Clone, Debug)]
pub struct MirrorOptions {
    pub limits: Limits,
    pub heartbeat_interval: Duration,
    pub sweep_interval: Duration,
    /// How long pending transitions are flushed after the drain began.
    pub drain_timeout: Duration,
    pub me: Process,
    /// Whether batches carry an epoch that the database's rules check.
    pub fence: bool,
    /// From 0 to 1; chance, but for tests.
    pub jitter: fn() -> f64,
}

/// What readiness asks of the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Standing {
    /// The database was asked who is online, successfully or not.
    pub tried: bool,
    /// Whoever was to be adopted at start is.
    pub adopted: bool,
    /// The last that was heard of the database was bad.
    pub degraded: bool,
    /// Another process has taken over; this one writes no more and should drain.
    pub deposed: bool,
}

/// What the drain could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Users whose record is not confirmed to be as it should be.
    pub unwritten: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mirror has ended")]
pub struct MirrorEnded;

/// Reports transitions to the mirror.
#[derive(Clone, Debug)]
pub struct MirrorHandle(pub(super) mpsc::Sender<(UserId, Record)>);

impl MirrorHandle {
    /// From now on the database should say `record` of `user`. Waits while the queue is full.
    pub async fn want(&self, user: UserId, record: Record) -> Result<(), MirrorEnded> {
        self.0.send((user, record)).await.map_err(|_| MirrorEnded)
    }
}

/// A request under way.
type Slot<T> = Option<BoxFuture<'static, T>>;

/// The task; [`MirrorTask::run`] is its life.
pub struct MirrorTask {
    options: MirrorOptions,
    records: Arc<dyn Records>,
    clock: Clock,
    core: Mirror,
    publisher: Publisher,
    standing: watch::Sender<Standing>,
    queue: mpsc::Receiver<(UserId, Record)>,
    inbox: Vec<(UserId, Record)>,
    adopted: mpsc::Sender<Adopted>,
    outgoing: VecDeque<Adopted>,
    write: Slot<Result<(), WriteError>>,
    beat: Slot<Result<UnixMillis, WriteError>>,
    look: Slot<Result<Adoption, ReadError>>,
    reread: Slot<Reread>,
    page: Slot<Result<Swept, ReadError>>,
    sweep: Sweep,
    burial: Slot<Result<(), WriteError>>,
    gate: Gate,
    life: Life,
    /// Batches wait until then for the first look.
    patient_until: Instant,
    next_beat: Option<Instant>,
    next_look: Option<Instant>,
    /// A heartbeat's time by the database, and when we heard of it.
    database_time: Option<(UnixMillis, Instant)>,
    waited_for: BTreeSet<Process>,
    /// Users with a write under way since the look at the database, or at a page of it, began:
    /// what was read may be older. A transition alone is no write: it may come to nothing.
    touched: HashSet<UserId>,
    last_probe: Kind,
    /// The end of the drain, once it has begun.
    drain_until: Option<Instant>,
    queue_ended: bool,
}

enum Event {
    Drain,
    Wanted(usize),
    Written(Result<(), WriteError>),
    Beaten(Result<UnixMillis, WriteError>),
    Looked(Result<Adoption, ReadError>),
    Reread(Reread),
    Swept(Result<Swept, ReadError>),
    Buried(Result<(), WriteError>),
    Fenced(Asked),
    Delivered,
    Woken,
}

/// Makes the mirror. Whoever is found online at start goes to `adopted`.
pub fn mirror(
    options: MirrorOptions,
    records: Arc<dyn Records>,
    adopted: mpsc::Sender<Adopted>,
    metrics: Arc<Metrics>,
    clock: Clock,
) -> (MirrorHandle, watch::Receiver<Standing>, MirrorTask) {
    let (handle, queue) = mpsc::channel(QUEUE_LENGTH);
    let (standing, watch) = watch::channel(Standing::default());
    let gate = if options.fence {
        Gate::on(&options.me.boot, clock.instant())
    } else {
        Gate::off()
    };
    let task = MirrorTask {
        core: Mirror::new(options.limits),
        sweep: Sweep::new(options.sweep_interval, clock.instant()),
        publisher: Publisher::new(metrics),
        patient_until: clock.instant() + FIRST_LOOK,
        next_beat: Some(clock.instant()),
        options,
        records,
        clock,
        standing,
        queue,
        inbox: Vec::with_capacity(BURST),
        adopted,
        outgoing: VecDeque::new(),
        write: None,
        beat: None,
        look: None,
        reread: None,
        page: None,
        burial: None,
        gate,
        life: Life::default(),
        next_look: None,
        database_time: None,
        waited_for: BTreeSet::new(),
        touched: HashSet::new(),
        last_probe: Kind::Look,
        drain_until: None,
        queue_ended: false,
    };
    (MirrorHandle(handle), watch, task)
}

impl MirrorTask {
    /// Runs until `drain` is cancelled (or every handle is gone) and then until all is written or
    /// the drain's time is over. Cancel it after the last transition was handed in: what comes
    /// later is refused.
    pub async fn run(mut self, drain: CancellationToken) -> Drained {
        loop {
            let now = self.clock.instant();
            self.start_due(now);
            self.publisher.publish(&self.core, now);
            self.tell_standing();
            if self.is_drained(now) {
                break;
            }
            let event = self.next_event(&drain).await;
            self.handle(event);
        }
        self.say_farewell().await;
        if self.gate.is_deposed() {
            tracing::info!("presence is left to the process that has taken over");
            return Drained { unwritten: 0 };
        }
        let unwritten = self.core.unwritten();
        if unwritten > 0 {
            tracing::warn!(unwritten, "users are left in the database as they were");
        }
        Drained { unwritten }
    }

    async fn next_event(&mut self, drain: &CancellationToken) -> Event {
        let wake = self.wake();
        tokio::select! {
            () = drain.cancelled(), if self.drain_until.is_none() => Event::Drain,
            result = landed(&mut self.write) => Event::Written(result),
            result = landed(&mut self.beat) => Event::Beaten(result),
            result = landed(&mut self.look) => Event::Looked(result),
            found = landed(&mut self.reread) => Event::Reread(found),
            result = landed(&mut self.page) => Event::Swept(result),
            result = landed(&mut self.burial) => Event::Buried(result),
            asked = landed(&mut self.gate.asking) => Event::Fenced(asked),
            count = self.queue.recv_many(&mut self.inbox, BURST), if !self.queue_ended => {
                Event::Wanted(count)
            }
            permit = self.adopted.reserve(), if !self.outgoing.is_empty() => {
                match (permit, self.outgoing.pop_front()) {
                    (Ok(permit), Some(users)) => permit.send(users),
                    (Err(_), _) => self.outgoing.clear(),
                    (Ok(_), None) => {}
                }
                Event::Delivered
            }
            () = sleep_until(wake) => Event::Woken,
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock.instant();
        match event {
            Event::Drain => self.begin_drain(now),
            Event::Wanted(0) => {
                self.queue_ended = true;
                self.begin_drain(now);
            }
            Event::Wanted(_) => self.take_in(now),
            Event::Written(result) => self.settle(result, now),
            Event::Beaten(result) => self.beaten(result, now),
            Event::Looked(result) => self.looked(result, now),
            Event::Reread(found) => self.reread(&found, now),
            Event::Swept(result) => self.swept(result, now),
            Event::Fenced(asked) => self.fenced(asked, now),
            Event::Buried(Err(_)) => {
                // They are found again, and their users with them.
                self.next_look.get_or_insert(now + LOOK_AGAIN);
            }
            Event::Buried(Ok(())) | Event::Delivered | Event::Woken => {}
        }
    }

    fn take_in(&mut self, now: Instant) {
        for (user, record) in self.inbox.drain(..) {
            self.core.want(&user, record, now);
        }
    }

    /// Stops whatever is not needed for the pending transitions.
    fn begin_drain(&mut self, now: Instant) {
        if self.drain_until.is_some() {
            return;
        }
        self.drain_until = Some(now + self.options.drain_timeout);
        self.queue.close();
        self.core.hurry();
        // One more try, however long the back-off is.
        self.core.reached(now);
        self.next_beat = None;
        self.next_look = self.life.is_doubtful.then_some(now);
        self.look = None;
        self.reread = None;
        self.page = None;
        self.burial = None;
        self.outgoing.clear();
        self.standing.send_modify(|standing| standing.tried = true);
    }

    fn is_drained(&self, now: Instant) -> bool {
        let Some(until) = self.drain_until else {
            return false;
        };
        let nothing_to_write = self.core.next_deadline().is_none() || self.gate.is_deposed();
        let idle = self.queue_ended && self.write.is_none() && nothing_to_write;
        idle || until <= now
    }

    /// Removes the own heartbeat, so that the successor need not wait for it to grow old. A
    /// heartbeat under way is waited for first: landing later it would rise from the dead.
    async fn say_farewell(&mut self) {
        let now = self.clock.instant();
        let left = self
            .drain_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let records = Arc::clone(&self.records);
        let me = self.options.me.clone();
        let farewell = async {
            if let Some(beat) = self.beat.take() {
                drop(beat.await);
            }
            records.forget(&me.node, &me.boot).await
        };
        let done = tokio::time::timeout(left.max(FAREWELL), farewell).await;
        if !matches!(done, Ok(Ok(()))) {
            tracing::warn!("could not remove the own heartbeat");
        }
    }

    fn tell_standing(&self) {
        let degraded = self.core.degraded();
        let changed = self.standing.send_if_modified(|standing| {
            let changed = standing.degraded != degraded;
            standing.degraded = degraded;
            changed
        });
        match (changed, degraded) {
            (true, true) => tracing::warn!("the database fails; presence is kept until it is back"),
            // The drain's last try ends the back-off without having heard anything.
            (true, false) if self.drain_until.is_some() => {}
            (true, false) => tracing::info!("the database is back"),
            (false, _) => {}
        }
    }
}

/// The outcome of the request under way; never, if there is none.
async fn landed<T>(slot: &mut Slot<T>) -> T {
    match slot {
        Some(request) => {
            let outcome = request.await;
            *slot = None;
            outcome
        }
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

/// Of a read that was not refused for good.
fn missed_read(error: &ReadError) -> Outcome {
    match error {
        ReadError::Unavailable | ReadError::Denied(_) => Outcome::NotSent,
        ReadError::Busy { retry_after } => Outcome::Busy {
            retry_after: *retry_after,
        },
    }
}

fn outcome_of(result: &Result<(), WriteError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Written,
        Err(WriteError::NotSent) => Outcome::NotSent,
        Err(WriteError::Ambiguous) => Outcome::Ambiguous,
        Err(WriteError::Busy { retry_after }) => Outcome::Busy {
            retry_after: *retry_after,
        },
        Err(WriteError::BadData) => Outcome::BadData,
        Err(WriteError::Denied(_)) => Outcome::Denied,
    }
}
