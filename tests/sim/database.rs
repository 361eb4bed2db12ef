//! The database and the way to it: requests take time, fail in every way, and land when they like.

use crate::dice::Dice;
use crate::history::{Fate, Setup, USERS};
use futures_util::future::ready;
use presence_bridge::domain::fence::FenceRecord;
use presence_bridge::domain::ids::UserId;
use presence_bridge::domain::mirror::{Outcome, Record};
use presence_bridge::domain::time::UnixMillis;
use presence_bridge::services::mirror::Process;
use presence_bridge::services::ports::{
    BoxFuture, FoundFence, NodeBeat, Page, ReadError, Records, StoredRecord, WriteError,
};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// The deadline of every request.
const DEADLINE_MS: u64 = 5_000;
pub(crate) const BEAT_MS: u64 = 10_000;
/// Unix time at the beginning of every history.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;

/// The number of a process in its history.
pub(crate) type Boot = usize;

/// What happens at the database at some time.
#[derive(Debug)]
pub(crate) enum Effect {
    Commit(Landing),
    Beat(Process),
    Forget(Process),
    /// The answer of a read is fixed.
    ReadNodes(Boot),
    ReadOnline(Boot),
    ReadAgain(Boot),
    ReadPage(Boot),
    ReadBeats(Boot),
    ReadFence(Boot),
    TakeFence {
        boot: Boot,
        record: FenceRecord,
        /// What must stand there still.
        tag: u64,
    },
}

/// A batch when it lands.
#[derive(Debug)]
pub(crate) struct Landing {
    pub(crate) boot: Boot,
    /// Which batch of its process.
    pub(crate) number: u64,
    pub(crate) node: String,
    pub(crate) epoch: Option<u64>,
    pub(crate) records: Vec<(UserId, Record)>,
}

/// When a request has its effect, and when and how it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) lands_ms: Option<u64>,
    pub(crate) answered_ms: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Write,
    Beat,
    Look,
    Reread,
    Fence,
    Take,
    Other,
}

pub(crate) struct Database {
    records: [Option<(Record, String)>; USERS],
    beats: Vec<(Process, UnixMillis)>,
    fence: Option<FenceRecord>,
    fence_tag: u64,
    effects: Vec<(u64, Effect)>,
    setup: Setup,
    dice: Dice,
    pub(crate) write_fates: VecDeque<Fate>,
    pub(crate) beat_fates: VecDeque<Fate>,
    pub(crate) take_fates: VecDeque<Fate>,
    pub(crate) looks_to_fail: u32,
    pub(crate) rereads_to_fail: u32,
    /// Until when, and whether requests hang.
    pub(crate) outage: Option<(u64, bool)>,
}

impl Database {
    pub(crate) fn new(setup: Setup, seed: u64) -> Self {
        Self {
            records: [const { None }; USERS],
            beats: Vec::new(),
            fence: None,
            fence_tag: 0,
            effects: Vec::new(),
            setup,
            dice: Dice::new(!seed),
            write_fates: VecDeque::new(),
            beat_fates: VecDeque::new(),
            take_fates: VecDeque::new(),
            looks_to_fail: 0,
            rereads_to_fail: 0,
            outage: None,
        }
    }

    /// From now on nothing new goes wrong.
    pub(crate) fn recover(&mut self) {
        self.write_fates.clear();
        self.beat_fates.clear();
        self.take_fates.clear();
        self.looks_to_fail = 0;
        self.rereads_to_fail = 0;
        self.outage = None;
    }

    pub(crate) fn time(&self, now_ms: u64) -> UnixMillis {
        UnixMillis((EPOCH_MS + now_ms).saturating_add_signed(self.setup.skew_ms))
    }

    pub(crate) fn record(&self, user: usize) -> Option<Record> {
        self.records[user].as_ref().map(|(record, _)| *record)
    }

    pub(crate) fn shows_online(&self, user: usize) -> bool {
        self.record(user).is_some_and(|record| record.online)
    }

    pub(crate) fn at(&mut self, at_ms: u64, effect: Effect) {
        self.effects.push((at_ms, effect));
    }

    pub(crate) fn next_effect(&self) -> Option<u64> {
        self.effects.iter().map(|(at, _)| *at).min()
    }

    /// The first effect whose time has come, in the order of their times.
    pub(crate) fn take_effect(&mut self, now_ms: u64) -> Option<Effect> {
        let due = self.effects.iter().enumerate();
        let (place, _) = due
            .filter(|(_, (at, _))| *at <= now_ms)
            .min_by_key(|(_, (at, _))| *at)?;
        Some(self.effects.remove(place).1)
    }

    pub(crate) fn expects_a_commit(&self) -> bool {
        let mut effects = self.effects.iter();
        effects.any(|(_, effect)| matches!(effect, Effect::Commit(_)))
    }

    /// Says whether the rules let the batch in.
    pub(crate) fn commit(&mut self, batch: Landing, rules: bool) -> bool {
        let newest = self.fence.as_ref().map(|fence| fence.epoch);
        if rules && self.setup.fence && batch.epoch != newest {
            return false;
        }
        for (user, record) in batch.records {
            self.records[number_of(&user)] = Some((record, batch.node.clone()));
        }
        true
    }

    pub(crate) fn fence(&self) -> (Option<FenceRecord>, u64) {
        (self.fence.clone(), self.fence_tag)
    }

    /// Compare-and-set; says whether it was set.
    pub(crate) fn take_fence(&mut self, record: &FenceRecord, tag: u64) -> bool {
        let unchanged = tag == self.fence_tag;
        if unchanged {
            self.fence = Some(record.clone());
            self.fence_tag += 1;
        }
        unchanged
    }

    pub(crate) fn beat(&mut self, process: Process, now_ms: u64) {
        let time = self.time(now_ms);
        self.forget(&process);
        self.beats.push((process, time));
    }

    pub(crate) fn forget(&mut self, process: &Process) {
        self.beats.retain(|(other, _)| other != process);
    }

    pub(crate) fn nodes(&self) -> Vec<NodeBeat> {
        let beats = self.beats.iter();
        beats
            .map(|(process, heartbeat)| NodeBeat {
                node: process.node.clone(),
                boot: process.boot.clone(),
                heartbeat: *heartbeat,
                interval: Duration::from_millis(BEAT_MS),
            })
            .collect()
    }

    pub(crate) fn online(&self, users: &[UserId]) -> Vec<StoredRecord> {
        let stored = users.iter().zip(&self.records);
        stored
            .filter_map(|(user, stored)| {
                let (record, node) = stored.as_ref().filter(|(record, _)| record.online)?;
                Some(StoredRecord {
                    user: user.clone(),
                    record: *record,
                    node: Some(node.clone()),
                })
            })
            .collect()
    }

    pub(crate) fn all(&self, users: &[UserId]) -> HashMap<UserId, Record> {
        let stored = users.iter().zip(&self.records);
        stored
            .filter_map(|(user, stored)| Some((user.clone(), stored.as_ref()?.0)))
            .collect()
    }

    /// What becomes of a request sent now.
    pub(crate) fn plan(&mut self, request: Request, now_ms: u64) -> Plan {
        let round = self.setup.latency_ms + self.dice.below(self.setup.latency_ms + 1);
        let answered = |after: u64, outcome: Outcome| Plan {
            lands_ms: None,
            answered_ms: now_ms + after.max(1),
            outcome,
        };
        match self.outage.filter(|(until, _)| now_ms < *until) {
            Some((_, false)) => return answered(round, Outcome::NotSent),
            Some((_, true)) => return answered(DEADLINE_MS, Outcome::Ambiguous),
            None => {}
        }
        let well = Plan {
            lands_ms: Some(now_ms + round / 2),
            ..answered(round, Outcome::Written)
        };
        let fate = match request {
            Request::Write => self.write_fates.pop_front(),
            Request::Beat => self.beat_fates.pop_front(),
            Request::Look => take_one(&mut self.looks_to_fail),
            Request::Reread => take_one(&mut self.rereads_to_fail),
            Request::Take => self.take_fates.pop_front(),
            Request::Fence | Request::Other => None,
        };
        match fate {
            None => well,
            Some(Fate::NotSent) => answered(round, Outcome::NotSent),
            Some(Fate::Denied) => answered(round, Outcome::Denied),
            Some(Fate::Busy { ms }) => {
                let retry_after = Some(Duration::from_millis(ms));
                answered(round, Outcome::Busy { retry_after })
            }
            Some(Fate::Slow { ms }) => Plan {
                lands_ms: Some(now_ms + ms / 2),
                ..answered(ms, Outcome::Written)
            },
            Some(Fate::Ambiguous {
                given_up_after_ms,
                lands_after_ms,
            }) => Plan {
                lands_ms: lands_after_ms.map(|after| now_ms + after),
                ..answered(given_up_after_ms, Outcome::Ambiguous)
            },
        }
    }
}

fn take_one(count: &mut u32) -> Option<Fate> {
    *count = count.checked_sub(1)?;
    Some(Fate::NotSent)
}

pub(crate) fn name(user: usize) -> UserId {
    UserId::parse(&format!("u{user}")).unwrap()
}

/// The number in a name made by [`name`].
pub(crate) fn number_of(user: &UserId) -> usize {
    usize::from(user.as_str().as_bytes()[1] - b'0')
}

/// The answers of one look, for the product's own decision about whom to adopt.
pub(crate) struct Answers {
    pub(crate) nodes: Vec<NodeBeat>,
    pub(crate) online: Vec<StoredRecord>,
}

impl Records for Answers {
    fn write<'a>(
        &'a self,
        _: &'a [(UserId, Record)],
        _: Option<u64>,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(ready(Err(WriteError::NotSent)))
    }

    fn online(&self) -> BoxFuture<'_, Result<Vec<StoredRecord>, ReadError>> {
        Box::pin(ready(Ok(self.online.clone())))
    }

    fn page<'a>(&'a self, _: Option<&'a str>, _: usize) -> BoxFuture<'a, Result<Page, ReadError>> {
        Box::pin(ready(Err(ReadError::Unavailable)))
    }

    fn read<'a>(&'a self, _: &'a UserId) -> BoxFuture<'a, Result<Option<Record>, ReadError>> {
        Box::pin(ready(Err(ReadError::Unavailable)))
    }

    fn beat(&self) -> BoxFuture<'_, Result<UnixMillis, WriteError>> {
        Box::pin(ready(Err(WriteError::NotSent)))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeBeat>, ReadError>> {
        Box::pin(ready(Ok(self.nodes.clone())))
    }

    fn forget<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(ready(Err(WriteError::NotSent)))
    }

    fn fence(&self) -> BoxFuture<'_, Result<FoundFence, ReadError>> {
        Box::pin(ready(Err(ReadError::Unavailable)))
    }

    fn take_fence<'a>(
        &'a self,
        _: &'a FenceRecord,
        _: &'a str,
    ) -> BoxFuture<'a, Result<bool, WriteError>> {
        Box::pin(ready(Err(WriteError::NotSent)))
    }
}
