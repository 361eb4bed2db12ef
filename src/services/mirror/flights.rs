//! Which request starts when, and what its outcome means.

use super::{
    ADOPTED_CHUNK, Adoption, Known, LOOK_AGAIN, MirrorTask, adopt, missed_read, outcome_of,
};
use crate::domain::mirror::{Found, Outcome, Recheck};
use crate::domain::time::UnixMillis;
use crate::services::ports::{ReadError, Record, Records, WriteError};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Users read again in one pass, and how many of them at the same time.
const REREAD_USERS: usize = 400;
const REREAD_AT_ONCE: usize = 8;
/// Heartbeat records of the dead removed in one pass.
const MAX_BURIALS: usize = 100;

/// Users in doubt, and what was read of them.
pub(super) type Reread = Vec<(Recheck, Result<Option<Record>, ReadError>)>;

/// The kinds of requests that may serve to find out whether the database is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Batch,
    Beat,
    Look,
    Fence,
}

impl Kind {
    /// The order of turns, beginning after `self`.
    fn turns(self) -> [Self; 4] {
        match self {
            Self::Batch => [Self::Fence, Self::Beat, Self::Look, Self::Batch],
            Self::Beat => [Self::Look, Self::Batch, Self::Fence, Self::Beat],
            Self::Look => [Self::Batch, Self::Fence, Self::Beat, Self::Look],
            Self::Fence => [Self::Beat, Self::Look, Self::Batch, Self::Fence],
        }
    }
}

impl MirrorTask {
    /// Starts every request whose time has come; after a failure, only one that asks whether the
    /// database is back.
    pub(super) fn start_due(&mut self, now: Instant) {
        self.mind_silence(now);
        let Some(blocked) = self.core.blocked_until() else {
            for kind in Kind::Batch.turns() {
                self.start(kind, now);
            }
            self.start_reread(now);
            self.start_sweep(now);
            return;
        };
        if blocked > now || self.is_asking() {
            return;
        }
        for kind in self.last_probe.turns() {
            if self.start(kind, now) {
                self.last_probe = kind;
                return;
            }
        }
    }

    /// When to look again for something to start.
    pub(super) fn wake(&self) -> Option<Instant> {
        let kinds = Kind::Batch
            .turns()
            .into_iter()
            .filter_map(|kind| self.due(kind));
        let next = match self.core.blocked_until() {
            None => kinds.chain(self.reread_due()).chain(self.sweep_due()).min(),
            Some(_) if self.is_asking() => None,
            Some(blocked) => kinds.min().map(|due| due.max(blocked)),
        };
        next.into_iter().chain(self.drain_until).min()
    }

    fn is_asking(&self) -> bool {
        self.write.is_some()
            || self.beat.is_some()
            || self.look.is_some()
            || self.gate.asking.is_some()
    }

    fn due(&self, kind: Kind) -> Option<Instant> {
        match kind {
            Kind::Batch | Kind::Look if !self.gate.is_open() => None,
            Kind::Batch if self.life.is_doubtful => None,
            Kind::Fence => self.gate.due().filter(|_| self.write.is_none()),
            Kind::Batch if self.standing.borrow().tried => self.core.next_deadline(),
            Kind::Batch => Some(self.core.next_deadline()?.max(self.patient_until)),
            Kind::Beat => self.next_beat.filter(|_| self.beat.is_none()),
            Kind::Look => self
                .next_look
                .filter(|_| self.look.is_none() && self.page.is_none()),
        }
    }

    fn reread_due(&self) -> Option<Instant> {
        let free = self.reread.is_none() && self.drain_until.is_none();
        self.core.recheck_deadline().filter(|_| free)
    }

    fn start(&mut self, kind: Kind, now: Instant) -> bool {
        if self.due(kind).is_none_or(|due| due > now) {
            return false;
        }
        let records = Arc::clone(&self.records);
        match kind {
            Kind::Batch => {
                let Some(batch) = self.core.next_batch(now) else {
                    return false;
                };
                self.publisher.sent(batch.records.len());
                if self.look.is_some() || self.page.is_some() {
                    let users = batch.records.iter().map(|(user, _)| user.clone());
                    self.touched.extend(users);
                }
                let epoch = self.gate.epoch();
                self.write = Some(Box::pin(async move {
                    records.write(&batch.records, epoch).await
                }));
            }
            Kind::Fence => self.gate.ask(&records),
            Kind::Beat => self.beat = Some(Box::pin(async move { records.beat().await })),
            Kind::Look => {
                let Some(time) = self.database_now(now) else {
                    return false;
                };
                self.begin_reading();
                let me = self.options.me.clone();
                let known = Known {
                    waited_for: self.waited_for.clone(),
                    doubtful: self.life.is_doubtful,
                };
                self.look = Some(Box::pin(async move {
                    adopt(&*records, &me, time, &known).await
                }));
            }
        }
        true
    }

    fn start_reread(&mut self, now: Instant) {
        if self.reread_due().is_none_or(|due| due > now) {
            return;
        }
        let rechecks = self.core.next_rechecks(now, REREAD_USERS);
        if !rechecks.is_empty() {
            let records = Arc::clone(&self.records);
            self.reread = Some(Box::pin(async move { reread(&*records, rechecks).await }));
        }
    }

    fn database_now(&self, now: Instant) -> Option<UnixMillis> {
        let (time, heard) = self.database_time?;
        let since = now.saturating_duration_since(heard).as_millis();
        Some(UnixMillis(
            time.0
                .saturating_add(u64::try_from(since).unwrap_or(u64::MAX)),
        ))
    }

    pub(super) fn settle(&mut self, result: Result<(), WriteError>, now: Instant) {
        let parked = self.core.balance().parked;
        let outcome = self.gate.judge(&result, now);
        self.core.settle(outcome, now, (self.options.jitter)());
        match result {
            Ok(()) => {}
            Err(WriteError::Denied(reason)) if outcome == Outcome::Denied => {
                tracing::error!(reason, "the database refuses the presence records");
            }
            Err(error) => tracing::debug!(%error, "presence records are not written yet"),
        }
        if self.core.balance().parked > parked {
            tracing::error!("the database refuses one user's record; it waits for a newer one");
        }
    }

    pub(super) fn beaten(&mut self, result: Result<UnixMillis, WriteError>, now: Instant) {
        let error = match result {
            Ok(time) => {
                let before = self.database_time.replace((time, now));
                if before.is_none() {
                    self.next_look = Some(now);
                }
                self.mind_gap(before.map_or(time, |(before, _)| before), time, now);
                self.next_beat = Some(now + self.options.heartbeat_interval);
                self.core.reached(now);
                return;
            }
            Err(error) => error,
        };
        self.standing.send_modify(|standing| standing.tried = true);
        let refused = matches!(error, WriteError::Denied(_) | WriteError::BadData);
        if refused {
            tracing::error!(%error, "the database refuses the heartbeat");
            self.next_beat = self
                .next_beat
                .map(|_| now + self.options.limits.denied_pause);
        }
        self.missed(&outcome_of(&Err(error)), refused, now);
    }

    pub(super) fn looked(&mut self, result: Result<Adoption, ReadError>, now: Instant) {
        match result {
            Ok(adoption) => {
                self.core.reached(now);
                self.take_over(adoption, now);
            }
            Err(error @ (ReadError::Unavailable | ReadError::Busy { .. })) => {
                self.missed(&missed_read(&error), false, now);
            }
            Err(ReadError::Denied(reason)) => {
                tracing::error!(reason, "the database does not tell who is online");
                self.next_look = Some(now + self.options.limits.denied_pause);
                // Whoever may not look writes all the same, as at the start.
                self.life.is_doubtful = false;
                self.missed(&Outcome::Denied, true, now);
            }
        }
        self.standing.send_modify(|standing| standing.tried = true);
    }

    /// A refusal proves that the database is there: it delays the others only while they ask
    /// whether it is.
    pub(super) fn missed(&mut self, outcome: &Outcome, refused: bool, now: Instant) {
        if !refused || self.core.blocked_until().is_some() {
            self.core.missed(*outcome, now, (self.options.jitter)());
        }
    }

    fn take_over(&mut self, adoption: Adoption, now: Instant) {
        if self.is_replaced(&adoption, now) {
            self.gate.close();
            return self.step_down();
        }
        if self.drain_until.is_some() {
            self.next_look = None;
            return;
        }
        if let Some(online) = &adoption.online {
            let missing = self.core.compare(online, &self.touched, now);
            self.publisher.corrected(missing);
        }
        let mut adopted = Vec::new();
        for found in adoption.users {
            let taken = if self.touched.contains(&found.user) {
                false
            } else if found.foreign {
                self.core.claim(&found.user, found.record, now)
            } else {
                self.core.adopt(&found.user, found.record)
            };
            if taken {
                adopted.push((found.user, found.last_seen));
            }
        }
        self.touched.clear();
        if !adopted.is_empty() {
            tracing::info!(
                users = adopted.len(),
                "adopted users found online in the database"
            );
        }
        self.publisher.adopted(adopted.len());
        let chunks = adopted.chunks(ADOPTED_CHUNK).map(<[_]>::to_vec);
        self.outgoing.extend(chunks);
        self.bury(adoption.dead);
        self.next_look = (!adoption.others.is_empty()).then(|| now + LOOK_AGAIN);
        self.waited_for = adoption.others;
        self.standing
            .send_modify(|standing| standing.adopted = true);
    }

    fn bury(&mut self, dead: BTreeSet<super::Process>) {
        if dead.is_empty() || self.burial.is_some() {
            return;
        }
        let records = Arc::clone(&self.records);
        self.burial = Some(Box::pin(async move {
            for process in dead.into_iter().take(MAX_BURIALS) {
                records.forget(&process.node, &process.boot).await?;
            }
            Ok(())
        }));
    }

    pub(super) fn reread(&mut self, read: &Reread, now: Instant) {
        let late = read
            .iter()
            .filter(|(recheck, read)| self.core.observe(recheck, found(read), now))
            .count();
        if late > 0 {
            tracing::info!(
                users = late,
                "old writes had landed late; they are put right"
            );
        }
        if let Some(error) = read.iter().find_map(|(_, read)| read.as_ref().err()) {
            self.missed(&missed_read(error), false, now);
        }
    }
}

fn found(read: &Result<Option<Record>, ReadError>) -> Found {
    match read {
        Ok(Some(record)) => Found::Record(*record),
        Ok(None) => Found::Nothing,
        Err(_) => Found::Unknown,
    }
}

/// Reads some users again, a few at a time, until the database fails.
async fn reread(records: &dyn Records, rechecks: Vec<Recheck>) -> Reread {
    let mut answers = Vec::with_capacity(rechecks.len());
    let mut failed = false;
    for chunk in rechecks.chunks(REREAD_AT_ONCE) {
        let reads = chunk.iter().map(|recheck| async move {
            if failed {
                return Err(ReadError::Unavailable);
            }
            records.read(&recheck.user).await
        });
        let read = join_all(reads).await;
        failed |= read.iter().any(Result::is_err);
        answers.extend(chunk.iter().cloned().zip(read));
    }
    answers
}
