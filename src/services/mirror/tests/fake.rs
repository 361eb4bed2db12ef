//! A database in memory that fails by the script and keeps a journal.

use crate::domain::ids::UserId;
use crate::domain::mirror::Record;
use crate::domain::time::UnixMillis;
use crate::services::ports::{BoxFuture, NodeBeat, ReadError, Records, StoredRecord, WriteError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What happens to one write.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// Fails at once, without effect.
    Fails(WriteError),
    /// No answer until the deadline; lands so long after it was sent, if at all.
    Hangs(Option<Duration>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Write(usize),
    Beat,
    Online,
    Nodes,
    Read,
    Forget,
}

/// The name that this process's records are signed with.
pub(super) const NODE: &str = "main";
pub(super) const BOOT: &str = "new";
/// The deadline of a request.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// How long a request takes.
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// The time of the database when a test begins.
pub(super) const BEGIN: u64 = 1_700_000_000_000;

#[derive(Default)]
pub(super) struct State {
    pub(super) users: BTreeMap<UserId, (Record, Option<String>)>,
    pub(super) beats: BTreeMap<(String, String), (UnixMillis, Duration)>,
    pub(super) journal: Vec<(Duration, Op)>,
    /// Fates of the next writes, one each.
    pub(super) fates: VecDeque<Fate>,
    /// While set, every request fails so.
    pub(super) down: Option<WriteError>,
    /// Users whose record is refused as bad data.
    pub(super) poison: Vec<UserId>,
}

#[derive(Clone)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    start: Instant,
}

impl Fake {
    #[expect(clippy::disallowed_methods, reason = "the test's own paused clock")]
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            start: Instant::now(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn time(&self) -> UnixMillis {
        UnixMillis(BEGIN + u64::try_from(self.start.elapsed().as_millis()).unwrap())
    }

    /// Requests since `since`, counted from the test's begin.
    pub(super) fn asked(&self, since: Duration) -> Vec<Op> {
        let state = self.state();
        let later = state.journal.iter().filter(|(at, _)| *at >= since);
        later.map(|(_, op)| *op).collect()
    }

    pub(super) fn record(&self, user: &UserId) -> Option<Record> {
        self.state().users.get(user).map(|(record, _)| *record)
    }

    async fn enter(&self, op: Op) -> Result<(), WriteError> {
        let down = {
            let mut state = self.state();
            state.journal.push((self.start.elapsed(), op));
            state.down.clone()
        };
        if let Some(error) = down {
            return Err(error);
        }
        sleep(ROUND_TRIP).await;
        Ok(())
    }

    fn land(&self, records: &[(UserId, Record)]) {
        let mut state = self.state();
        for (user, record) in records {
            let signed = (*record, Some(NODE.to_owned()));
            state.users.insert(user.clone(), signed);
        }
    }

    async fn hang(&self, landing: Option<Duration>, records: &[(UserId, Record)]) {
        if let Some(after) = landing {
            let (fake, records) = (self.clone(), records.to_vec());
            tokio::spawn(async move {
                sleep(after).await;
                fake.land(&records);
            });
        }
        sleep(DEADLINE).await;
    }
}

fn unread(error: WriteError) -> ReadError {
    match error {
        WriteError::Denied(reason) => ReadError::Denied(reason),
        WriteError::NotSent
        | WriteError::Ambiguous
        | WriteError::Busy { .. }
        | WriteError::BadData => ReadError::Unavailable,
    }
}

impl Records for Fake {
    fn write<'a>(
        &'a self,
        records: &'a [(UserId, Record)],
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            let fate = self.state().fates.pop_front();
            self.enter(Op::Write(records.len())).await?;
            match fate {
                Some(Fate::Fails(error)) => return Err(error),
                Some(Fate::Hangs(landing)) => {
                    self.hang(landing, records).await;
                    return Err(WriteError::Ambiguous);
                }
                None => {}
            }
            if records
                .iter()
                .any(|(user, _)| self.state().poison.contains(user))
            {
                return Err(WriteError::BadData);
            }
            self.land(records);
            Ok(())
        })
    }

    fn online(&self) -> BoxFuture<'_, Result<Vec<StoredRecord>, ReadError>> {
        Box::pin(async move {
            self.enter(Op::Online).await.map_err(unread)?;
            let state = self.state();
            let online = state.users.iter().filter(|(_, (record, _))| record.online);
            let stored = online.map(|(user, (record, node))| StoredRecord {
                user: user.clone(),
                record: *record,
                node: node.clone(),
            });
            Ok(stored.collect())
        })
    }

    fn read<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Record>, ReadError>> {
        Box::pin(async move {
            self.enter(Op::Read).await.map_err(unread)?;
            Ok(self.record(user))
        })
    }

    fn beat(&self) -> BoxFuture<'_, Result<UnixMillis, WriteError>> {
        Box::pin(async move {
            self.enter(Op::Beat).await?;
            let beat = (self.time(), Duration::from_secs(10));
            let me = (NODE.to_owned(), BOOT.to_owned());
            self.state().beats.insert(me, beat);
            Ok(self.time())
        })
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeBeat>, ReadError>> {
        Box::pin(async move {
            self.enter(Op::Nodes).await.map_err(unread)?;
            let state = self.state();
            let beats = state
                .beats
                .iter()
                .map(|((node, boot), (heartbeat, interval))| NodeBeat {
                    node: node.clone(),
                    boot: boot.clone(),
                    heartbeat: *heartbeat,
                    interval: *interval,
                });
            Ok(beats.collect())
        })
    }

    fn forget<'a>(&'a self, node: &'a str, boot: &'a str) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            self.enter(Op::Forget).await?;
            self.state()
                .beats
                .remove(&(node.to_owned(), boot.to_owned()));
            Ok(())
        })
    }
}
