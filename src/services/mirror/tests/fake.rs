//! A database in memory that fails by the script and keeps a journal.

use crate::domain::ids::UserId;
use crate::domain::mirror::{Record, compare_keys};
use crate::domain::time::UnixMillis;
use crate::services::ports::{
    BoxFuture, FenceRecord, FoundFence, NodeBeat, Page, ReadError, Records, StoredRecord,
    WriteError,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What happens to one write.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// Fails at once, without effect.
    Fails(WriteError),
    /// Lands and is answered, but only after so long.
    Slow(Duration),
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
    Page(usize),
    Forget,
    Fence,
    Take,
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
    /// While set, no request is answered before its deadline, and none has an effect.
    pub(super) silent: bool,
    /// Requests under way, and the most there were at the same time since it was last reset.
    under_way: usize,
    pub(super) most_under_way: usize,
    /// How long the answer to "who is online?" takes, after it was read.
    pub(super) look_takes: Duration,
    /// The fence; its tag is the number of times it was taken.
    pub(super) fence: Option<FenceRecord>,
    pub(super) taken: u64,
    /// Fates of the next attempts to take the fence, one each.
    pub(super) fence_fates: VecDeque<Fate>,
    /// What the process's own clocks have slept through.
    pub(super) slept: Duration,
    /// Users whose record is refused as bad data.
    pub(super) poison: Vec<UserId>,
}

#[derive(Clone)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    start: Instant,
    boot: &'static str,
}

impl Fake {
    #[expect(clippy::disallowed_methods, reason = "the test's own paused clock")]
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            start: Instant::now(),
            boot: BOOT,
        }
    }

    /// The same database, as another process sees it.
    pub(super) fn seen_by(&self, boot: &'static str) -> Self {
        Self {
            boot,
            ..self.clone()
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn time(&self) -> UnixMillis {
        let passed = self.start.elapsed() + self.state().slept;
        UnixMillis(BEGIN + u64::try_from(passed.as_millis()).unwrap())
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
        let (down, silent) = {
            let mut state = self.state();
            state.journal.push((self.start.elapsed(), op));
            state.under_way += 1;
            state.most_under_way = state.most_under_way.max(state.under_way);
            (state.down.clone(), state.silent)
        };
        if silent {
            sleep(DEADLINE).await;
        } else if down.is_none() {
            sleep(ROUND_TRIP).await;
        }
        self.state().under_way -= 1;
        match down {
            Some(error) => Err(error),
            None if silent => Err(WriteError::Ambiguous),
            None => Ok(()),
        }
    }

    /// The rule is asked when the write lands, not when it was sent.
    fn land(&self, records: &[(UserId, Record)], epoch: Option<u64>) -> Result<(), WriteError> {
        let mut state = self.state();
        let current = state.fence.as_ref().map(|fence| fence.epoch);
        if epoch.is_some() && epoch != current {
            return Err(WriteError::Denied("Permission denied".to_owned()));
        }
        for (user, record) in records {
            let signed = (*record, Some(NODE.to_owned()));
            state.users.insert(user.clone(), signed);
        }
        Ok(())
    }

    fn put_fence(&self, record: &FenceRecord, tag: &str) -> bool {
        let mut state = self.state();
        if state.taken.to_string() != tag {
            return false;
        }
        state.taken += 1;
        state.fence = Some(record.clone());
        true
    }

    async fn hang(&self, landing: Option<Duration>, land: impl FnOnce() + Send + 'static) {
        if let Some(after) = landing {
            tokio::spawn(async move {
                sleep(after).await;
                land();
            });
        }
        sleep(DEADLINE).await;
    }
}

fn unread(error: WriteError) -> ReadError {
    match error {
        WriteError::Denied(reason) => ReadError::Denied(reason),
        WriteError::Busy { retry_after } => ReadError::Busy { retry_after },
        WriteError::NotSent | WriteError::Ambiguous | WriteError::BadData => ReadError::Unavailable,
    }
}

impl Records for Fake {
    fn write<'a>(
        &'a self,
        records: &'a [(UserId, Record)],
        epoch: Option<u64>,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            let fate = self.state().fates.pop_front();
            self.enter(Op::Write(records.len())).await?;
            match fate {
                Some(Fate::Fails(error)) => return Err(error),
                Some(Fate::Hangs(landing)) => {
                    let (there, late) = (self.clone(), records.to_vec());
                    let land = move || drop(there.land(&late, epoch));
                    self.hang(landing, land).await;
                    return Err(WriteError::Ambiguous);
                }
                Some(Fate::Slow(time)) => sleep(time).await,
                None => {}
            }
            if records
                .iter()
                .any(|(user, _)| self.state().poison.contains(user))
            {
                return Err(WriteError::BadData);
            }
            self.land(records, epoch)
        })
    }

    fn online(&self) -> BoxFuture<'_, Result<Vec<StoredRecord>, ReadError>> {
        Box::pin(async move {
            self.enter(Op::Online).await.map_err(unread)?;
            let (users, look_takes) = {
                let state = self.state();
                (state.users.clone(), state.look_takes)
            };
            sleep(look_takes).await;
            let online = users.iter().filter(|(_, (record, _))| record.online);
            let stored = online.map(|(user, (record, node))| StoredRecord {
                user: user.clone(),
                record: *record,
                node: node.clone(),
            });
            Ok(stored.collect())
        })
    }

    fn page<'a>(
        &'a self,
        after: Option<&'a str>,
        most: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        Box::pin(async move {
            self.enter(Op::Page(most)).await.map_err(unread)?;
            let (users, look_takes) = {
                let state = self.state();
                (state.users.clone(), state.look_takes)
            };
            sleep(look_takes).await;
            let mut users: Vec<_> = users.into_iter().map(|(u, r)| (u.to_key(), u, r)).collect();
            users.retain(|(key, _, _)| after.is_none_or(|after| compare_keys(key, after).is_gt()));
            users.sort_by(|(a, _, _), (b, _, _)| compare_keys(a, b));
            let more = users.len() > most;
            users.truncate(most);
            let records = users.iter().map(|(_, user, (record, node))| StoredRecord {
                user: user.clone(),
                record: *record,
                node: node.clone(),
            });
            Ok(Page {
                records: records.collect(),
                through: users.last().map(|(key, _, _)| key.clone()).filter(|_| more),
                children: users.len(),
                bytes: 100 * users.len(),
            })
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
            let me = (NODE.to_owned(), self.boot.to_owned());
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

    fn fence(&self) -> BoxFuture<'_, Result<FoundFence, ReadError>> {
        Box::pin(async move {
            self.enter(Op::Fence).await.map_err(unread)?;
            let state = self.state();
            Ok(FoundFence {
                record: state.fence.clone(),
                tag: state.taken.to_string(),
            })
        })
    }

    fn take_fence<'a>(
        &'a self,
        record: &'a FenceRecord,
        tag: &'a str,
    ) -> BoxFuture<'a, Result<bool, WriteError>> {
        Box::pin(async move {
            let fate = self.state().fence_fates.pop_front();
            self.enter(Op::Take).await?;
            match fate {
                Some(Fate::Fails(error)) => Err(error),
                Some(Fate::Hangs(landing)) => {
                    let (there, record, tag) = (self.clone(), record.clone(), tag.to_owned());
                    let land = move || {
                        there.put_fence(&record, &tag);
                    };
                    self.hang(landing, land).await;
                    Err(WriteError::Ambiguous)
                }
                Some(Fate::Slow(time)) => {
                    sleep(time).await;
                    Ok(self.put_fence(record, tag))
                }
                None => Ok(self.put_fence(record, tag)),
            }
        })
    }
}
