//! Whether batches may be sent, and under which epoch: the task's side of the fence.
//!
//! An epoch is taken at the start and after every write whose outcome is unknown; nothing is sent
//! in between. A refused batch is explained by reading the record again: either another process
//! has taken over, or the refusal is a matter of permissions.

use super::{MirrorTask, Slot};
use crate::domain::fence::{Claim, Verdict};
use crate::domain::mirror::Outcome;
use crate::services::ports::{ReadError, Records, WriteError};
use std::sync::Arc;
use std::time::Instant;

/// Compare-and-sets in one go. Each one lost means that another process won one.
const MAX_ROUNDS: usize = 8;

/// With the fence off, open until another process is found to have taken over.
pub(super) struct Gate {
    claim: Option<Claim>,
    /// Without a claim that could tell.
    closed: bool,
    /// Since when the record is to be read; `None` while there is no need.
    due: Option<Instant>,
    /// Why the last batch was refused, until the record explains it.
    refusal: Option<String>,
    pub(super) asking: Slot<Asked>,
}

/// What an attempt came to.
pub(super) struct Asked {
    claim: Claim,
    end: Result<End, Trouble>,
}

enum End {
    Held(u64),
    Deposed,
    Exhausted,
}

enum Trouble {
    Unreachable,
    Busy(WriteError),
    Denied(String),
}

impl Gate {
    pub(super) fn off() -> Self {
        Self {
            claim: None,
            closed: false,
            due: None,
            refusal: None,
            asking: None,
        }
    }

    pub(super) fn on(boot: &str, now: Instant) -> Self {
        Self {
            claim: Some(Claim::new(boot.to_owned())),
            due: Some(now),
            ..Self::off()
        }
    }

    /// Whether batches may be sent now.
    pub(super) fn is_open(&self) -> bool {
        match &self.claim {
            None => !self.closed,
            Some(claim) => claim.epoch().is_some() && self.due.is_none() && self.asking.is_none(),
        }
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.claim.is_some()
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_deposed(&self) -> bool {
        self.closed || self.claim.as_ref().is_some_and(Claim::is_deposed)
    }

    pub(super) fn epoch(&self) -> Option<u64> {
        self.claim.as_ref()?.epoch()
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.asking.is_none())
    }

    /// Takes note of how a batch ended, and says what that means behind the fence.
    pub(super) fn judge(&mut self, result: &Result<(), WriteError>, now: Instant) -> Outcome {
        let outcome = super::outcome_of(result);
        let Some(claim) = &mut self.claim else {
            return outcome;
        };
        match result {
            Err(WriteError::Ambiguous) => {
                claim.doubt();
                self.due = Some(now);
                Outcome::Barred
            }
            Err(WriteError::Denied(reason)) => {
                self.refusal = Some(reason.clone());
                self.due = Some(now);
                Outcome::NotSent
            }
            Ok(()) | Err(WriteError::NotSent | WriteError::Busy { .. } | WriteError::BadData) => {
                outcome
            }
        }
    }

    pub(super) fn ask(&mut self, records: &Arc<dyn Records>) {
        if let Some(claim) = &self.claim {
            self.asking = Some(Box::pin(ask(Arc::clone(records), claim.clone())));
        }
    }
}

impl MirrorTask {
    pub(super) fn fenced(&mut self, asked: Asked, now: Instant) {
        let before = self.gate.epoch();
        self.gate.claim = Some(asked.claim);
        match asked.end {
            Ok(End::Held(epoch)) => {
                self.gate.due = None;
                let refusal = self.gate.refusal.take();
                if before == Some(epoch) {
                    self.refused(refusal.as_deref().unwrap_or_default(), now);
                } else {
                    self.begin_epoch(epoch, now);
                }
            }
            Ok(End::Deposed) => self.step_down(),
            Ok(End::Exhausted) => self.refused("no epoch is left above that of the fence", now),
            Err(Trouble::Unreachable) => self.fence_missed(Outcome::NotSent, now),
            Err(Trouble::Busy(error)) => {
                self.fence_missed(super::outcome_of(&Err(error)), now);
            }
            Err(Trouble::Denied(reason)) => self.refused(&reason, now),
        }
    }

    fn begin_epoch(&mut self, epoch: u64, now: Instant) {
        tracing::info!(epoch, "presence is written behind the fence");
        self.publisher.epoch(epoch);
        self.core.reached(now);
        // Whatever was written before this epoch is there by now: compare with all of it. Without
        // the database's time the first heartbeat asks for the look.
        self.waited_for.clear();
        if self.drain_until.is_none() && self.database_time.is_some() {
            if self.look.take().is_some() {
                tracing::debug!("the look at the database begins again");
            }
            self.page = None;
            self.next_look = Some(now);
        }
    }

    /// Another process writes presence from here on.
    pub(super) fn step_down(&mut self) {
        tracing::warn!("another process has taken over presence; this one writes no more");
        self.gate.due = None;
        self.publisher.epoch(0);
        self.next_look = None;
        self.look = None;
        self.reread = None;
        self.page = None;
        self.burial = None;
        self.standing.send_modify(|standing| {
            standing.tried = true;
            standing.deposed = true;
        });
    }

    fn refused(&mut self, reason: &str, now: Instant) {
        tracing::error!(
            reason,
            "the database refuses presence behind the fence; are the rules of \
             firebase/database.rules.json in place?"
        );
        self.fence_missed(Outcome::Denied, now);
    }

    fn fence_missed(&mut self, outcome: Outcome, now: Instant) {
        self.core.missed(outcome, now, (self.options.jitter)());
        self.standing.send_modify(|standing| standing.tried = true);
    }
}

/// Reads the record and, where that is called for, takes a new epoch.
async fn ask(records: Arc<dyn Records>, mut claim: Claim) -> Asked {
    let end = rounds(&*records, &mut claim).await;
    Asked { claim, end }
}

async fn rounds(records: &dyn Records, claim: &mut Claim) -> Result<End, Trouble> {
    for _ in 0..MAX_ROUNDS {
        let found = records.fence().await.map_err(|error| match error {
            ReadError::Unavailable => Trouble::Unreachable,
            ReadError::Busy { retry_after } => Trouble::Busy(WriteError::Busy { retry_after }),
            ReadError::Denied(reason) => Trouble::Denied(reason),
        })?;
        let verdict = claim.found(found.record.as_ref(), rand::random());
        let proposal = match verdict {
            Verdict::Held(epoch) => return Ok(End::Held(epoch)),
            Verdict::Deposed => return Ok(End::Deposed),
            Verdict::Exhausted => return Ok(End::Exhausted),
            Verdict::Propose(proposal) => proposal,
        };
        match records.take_fence(&proposal, &found.tag).await {
            Ok(true) => {
                claim.accepted(&proposal);
                return Ok(End::Held(proposal.epoch));
            }
            // Somebody was faster, or perhaps we were ourselves: the record tells.
            Ok(false) | Err(WriteError::Ambiguous) => {}
            Err(WriteError::NotSent) => return Err(Trouble::Unreachable),
            Err(error @ WriteError::Busy { .. }) => return Err(Trouble::Busy(error)),
            Err(WriteError::BadData) => {
                return Err(Trouble::Denied("the fence record is refused".to_owned()));
            }
            Err(WriteError::Denied(reason)) => return Err(Trouble::Denied(reason)),
        }
    }
    Err(Trouble::Unreachable)
}
