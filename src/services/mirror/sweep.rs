//! The sweep's requests: a page of the records, and then who else is alive.

use super::{LOOK_AGAIN, MirrorTask, adoption, missed_read};
use crate::domain::mirror::{Passage, Stretch};
use crate::services::ports::{NodeBeat, Page, ReadError, Records};
use std::sync::Arc;
use std::time::Instant;

/// What was read of one stretch.
pub(super) struct Swept {
    stretch: Stretch,
    page: Page,
    beats: Vec<NodeBeat>,
}

impl MirrorTask {
    pub(super) fn sweep_due(&self) -> Option<Instant> {
        let free = self.page.is_none() && self.look.is_none() && self.drain_until.is_none();
        let settled = self.standing.borrow().adopted && self.gate.is_open();
        (free && settled).then(|| self.sweep.due())
    }

    pub(super) fn start_sweep(&mut self, now: Instant) {
        if self.sweep_due().is_none_or(|due| due > now) {
            return;
        }
        let Some(stretch) = self.sweep.next(now) else {
            return;
        };
        if stretch.after.is_none() {
            self.core.retry_parked(now);
        }
        self.begin_reading();
        let records = Arc::clone(&self.records);
        self.page = Some(Box::pin(async move { read(&*records, stretch).await }));
    }

    /// From here on it is remembered whose records may be newer than what is read.
    pub(super) fn begin_reading(&mut self) {
        self.touched.clear();
        self.touched.extend(self.core.flying().cloned());
    }

    pub(super) fn swept(&mut self, result: Result<Swept, ReadError>, now: Instant) {
        let swept = match result {
            Ok(swept) => swept,
            Err(error) => {
                self.sweep.failed();
                if let ReadError::Denied(reason) = error {
                    tracing::error!(reason, "the database does not let its records be compared");
                } else {
                    self.missed(&missed_read(&error), false, now);
                }
                return;
            }
        };
        let Swept {
            stretch,
            page,
            beats,
        } = swept;
        let others = adoption::has_others(&beats, &self.options.me);
        if others {
            // Perhaps they came after the last look: their end is to be noticed.
            self.next_look.get_or_insert(now + LOOK_AGAIN);
        }
        let alone = !others && self.waited_for.is_empty();
        let found = page.records.into_iter();
        let passage = Passage {
            after: stretch.after,
            through: page.through,
            records: found.map(|stored| (stored.user, stored.record)).collect(),
        };
        let corrected = self.core.sweep(&passage, &self.touched, alone, now);
        if corrected > 0 {
            tracing::warn!(
                users = corrected,
                "records that somebody else changed are put right"
            );
        }
        self.publisher.corrected(corrected);
        self.sweep
            .passed(page.children, page.bytes, passage.through, now);
        self.touched.clear();
    }
}

/// The heartbeats are read after the records: whoever wrote one of them beats already.
async fn read(records: &dyn Records, stretch: Stretch) -> Result<Swept, ReadError> {
    let page = records.page(stretch.after.as_deref(), stretch.most).await?;
    let beats = records.nodes().await?;
    Ok(Swept {
        stretch,
        page,
        beats,
    })
}
