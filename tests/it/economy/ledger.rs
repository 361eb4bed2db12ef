//! The database of the economy tests: it keeps count.

use presence_bridge::clock::Clock;
use presence_bridge::domain::fence::FenceRecord;
use presence_bridge::domain::ids::UserId;
use presence_bridge::domain::mirror::Record;
use presence_bridge::domain::time::UnixMillis;
use presence_bridge::services::ports::{
    BoxFuture, FoundFence, NodeBeat, Page, ReadError, Records, StoredRecord, WriteError,
};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A database that only counts, in paused time.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    requests: u64,
    /// When each user was written.
    written: BTreeMap<UserId, Vec<Instant>>,
    last: BTreeMap<UserId, Record>,
}

impl Ledger {
    /// A request takes this long.
    const ROUND_TRIP: Duration = Duration::from_millis(40);

    pub(super) fn requests(&self) -> u64 {
        self.0.lock().unwrap().requests
    }

    /// At most one record of a user in a window, whatever the user does; and the last one is the truth.
    pub(super) fn check(&self, window: Duration) {
        let entries = self.0.lock().unwrap();
        for (user, times) in &entries.written {
            for pair in times.windows(2) {
                let between = pair[1] - pair[0];
                assert!(between >= window, "{user:?} twice within {between:?}");
            }
            assert!(!entries.last[user].online, "{user:?} is gone");
        }
    }

    async fn request(&self) {
        self.0.lock().unwrap().requests += 1;
        sleep(Self::ROUND_TRIP).await;
    }
}

impl Records for Ledger {
    fn write<'a>(
        &'a self,
        records: &'a [(UserId, Record)],
        _epoch: Option<u64>,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            let now = Clock::system().instant();
            self.request().await;
            let mut entries = self.0.lock().unwrap();
            for (user, record) in records {
                entries.written.entry(user.clone()).or_default().push(now);
                entries.last.insert(user.clone(), *record);
            }
            Ok(())
        })
    }

    fn online(&self) -> BoxFuture<'_, Result<Vec<StoredRecord>, ReadError>> {
        Box::pin(async {
            self.request().await;
            Ok(Vec::new())
        })
    }

    fn page<'a>(
        &'a self,
        after: Option<&'a str>,
        most: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        Box::pin(async move {
            self.request().await;
            let entries = self.0.lock().unwrap();
            let rest = |user: &&UserId| after.is_none_or(|after| user.as_str() > after);
            let users = entries.last.keys().filter(rest).take(most);
            let records: Vec<_> = users
                .map(|user| StoredRecord {
                    user: user.clone(),
                    record: entries.last[user],
                    node: Some("main".to_owned()),
                })
                .collect();
            let last = records.last().filter(|_| records.len() == most);
            Ok(Page {
                through: last.map(|stored| stored.user.as_str().to_owned()),
                children: records.len(),
                bytes: records.len() * 64,
                records,
            })
        })
    }

    fn read<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Record>, ReadError>> {
        Box::pin(async {
            self.request().await;
            Ok(self.0.lock().unwrap().last.get(user).copied())
        })
    }

    fn beat(&self) -> BoxFuture<'_, Result<UnixMillis, WriteError>> {
        Box::pin(async {
            self.request().await;
            Ok(UnixMillis(1_700_000_000_000))
        })
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeBeat>, ReadError>> {
        Box::pin(async {
            self.request().await;
            Ok(Vec::new())
        })
    }

    fn forget<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async {
            self.request().await;
            Ok(())
        })
    }

    fn fence(&self) -> BoxFuture<'_, Result<FoundFence, ReadError>> {
        Box::pin(async {
            self.request().await;
            Ok(FoundFence {
                record: None,
                tag: "null_etag".to_owned(),
            })
        })
    }

    fn take_fence<'a>(
        &'a self,
        _: &'a FenceRecord,
        _: &'a str,
    ) -> BoxFuture<'a, Result<bool, WriteError>> {
        Box::pin(async {
            self.request().await;
            Ok(true)
        })
    }
}
