//! Every record that was committed to the database, in order, from the first.

use presence_bridge::dev::database::{DatabaseStandIn, Entry, Verdict};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub at: Instant,
    pub user: String,
    pub online: bool,
    /// Unix milliseconds.
    pub last_seen: u64,
    /// The same moment by the clock of `at`.
    pub since: Instant,
}

/// The stand-in's history forgets; this does not.
pub(crate) struct Journal {
    commits: Arc<Mutex<Vec<Commit>>>,
    database: DatabaseStandIn,
    seen: Arc<Mutex<u64>>,
    writing: JoinHandle<()>,
}

impl Journal {
    pub(crate) fn of(database: &DatabaseStandIn) -> Self {
        let (commits, seen) = (
            Arc::<Mutex<Vec<Commit>>>::default(),
            Arc::<Mutex<u64>>::default(),
        );
        let writing = tokio::spawn({
            let (database, commits, seen) =
                (database.clone(), Arc::clone(&commits), Arc::clone(&seen));
            async move {
                let copy = |database: &DatabaseStandIn| {
                    catch_up(database, &commits, &seen);
                    false
                };
                database.until(copy).await;
            }
        });
        Self {
            commits,
            database: database.clone(),
            seen,
            writing,
        }
    }

    pub(crate) fn commits(&self) -> Vec<Commit> {
        catch_up(&self.database, &self.commits, &self.seen);
        self.commits.lock().unwrap().clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

fn catch_up(database: &DatabaseStandIn, commits: &Mutex<Vec<Commit>>, seen: &Mutex<u64>) {
    let mut seen = seen.lock().unwrap();
    let history = database.history_after(*seen);
    let first = history.first().map_or(*seen + 1, |entry| entry.sequence);
    assert!(
        first <= *seen + 1,
        "the history has forgotten what was not read yet"
    );
    let mut commits = commits.lock().unwrap();
    for entry in &history {
        commits.extend(committed(entry));
    }
    *seen = history.last().map_or(*seen, |entry| entry.sequence);
}

fn committed(entry: &Entry) -> Vec<Commit> {
    let is_batch = entry.method == "PATCH" && entry.path == "/presence";
    if !is_batch || !matches!(entry.verdict, Verdict::Committed { .. }) {
        return Vec::new();
    }
    let Some(Value::Object(records)) = &entry.body else {
        panic!("a batch too large to be kept: {entry:?}");
    };
    let commit = |(user, record): (&String, &Value)| {
        let last_seen = record["lastSeen"].as_u64().unwrap();
        let age = Duration::from_millis(entry.at.unix.0.saturating_sub(last_seen));
        Commit {
            at: entry.at.instant,
            user: user.clone(),
            online: record["online"] == true,
            last_seen,
            since: entry.at.instant.checked_sub(age).unwrap(),
        }
    };
    records.iter().map(commit).collect()
}
