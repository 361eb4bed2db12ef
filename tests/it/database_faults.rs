//! What the REST client and the mirror make of a database that fails, over real HTTP.

use crate::database_contract::{BOOT, NODE, RULES, client, record, serve, user};
use crate::google::Google;
use crate::phone::soon;
use axum::http::Method;
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{DatabaseStandIn, Entry, Fault, Target as For, Verdict};
use presence_bridge::domain::mirror::{Limits, Record};
use presence_bridge::firebase::access_token::AccessTokens;
use presence_bridge::firebase::bearer::{Owner, TokenSource};
use presence_bridge::firebase::database::{Database, Target};
use presence_bridge::firebase::schema::Layout;
use presence_bridge::services::mirror::{
    Adopted, Drained, MirrorHandle, MirrorOptions, Process, mirror,
};
use presence_bridge::services::ports::{ReadError, Records, WriteError};
use presence_bridge::telemetry::metrics::Metrics;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

const SHORT: Duration = Duration::from_millis(500);
pub(crate) const EXPIRED: &str = r#"{"error":"Auth token is expired"}"#;

pub(crate) struct Site {
    pub base: DatabaseStandIn,
    host: String,
    _serving: DropGuard,
}

impl Site {
    pub(crate) async fn open() -> Self {
        let base = DatabaseStandIn::new("demo-x", RULES, Clock::system()).unwrap();
        let (host, serving) = serve(&base).await;
        Self {
            base,
            host,
            _serving: serving,
        }
    }

    pub(crate) fn database(&self, tokens: Arc<dyn TokenSource>) -> Database {
        let target = Target::emulator(&self.host, self.base.default_namespace()).unwrap();
        client(target, Layout::Bridge, SHORT, tokens)
    }

    /// Requests so far of this method below this path.
    fn asked(&self, method: &Method, path: &str) -> Vec<Entry> {
        let mut entries = self.base.history();
        entries.retain(|entry| entry.method == *method && entry.path.starts_with(path));
        entries
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&DatabaseStandIn) -> bool) {
        soon(what, self.base.until(condition)).await;
    }
}

/// A whole mirror on the real client.
pub(crate) struct Mirrored {
    pub handle: MirrorHandle,
    adopted: mpsc::Receiver<Adopted>,
    metrics: Arc<Metrics>,
    drain: CancellationToken,
    task: JoinHandle<Drained>,
}

impl Mirrored {
    pub(crate) fn start(database: Database, limits: Limits) -> Self {
        let options = MirrorOptions {
            limits,
            sweep_interval: Duration::from_mins(5),
            fence: false,
            heartbeat_interval: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(20),
            me: Process {
                node: NODE.to_owned(),
                boot: BOOT.to_owned(),
            },
            jitter: || 0.5,
        };
        let metrics = Arc::new(Metrics::new());
        let (sender, adopted) = mpsc::channel(4);
        let (records, clock) = (Arc::new(database), Clock::system());
        let (handle, _, task) = mirror(options, records, sender, Arc::clone(&metrics), clock);
        let drain = CancellationToken::new();
        Self {
            handle,
            adopted,
            metrics,
            task: tokio::spawn(task.run(drain.clone())),
            drain,
        }
    }

    async fn want(&self, name: &str, record: Record) {
        self.handle.want(user(name), record).await.unwrap();
    }

    /// Until so many records have been on their way.
    async fn until_sent(&self, records: u64) {
        soon("records under way", async {
            while self.metrics.mirror_records.get() < records {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    pub(crate) async fn end(self) -> Drained {
        self.drain.cancel();
        soon("the end of the mirror", self.task).await.unwrap()
    }
}

pub(crate) fn quick() -> Limits {
    Limits {
        flush_interval: Duration::from_millis(50),
        backoff: (Duration::from_millis(50), Duration::from_millis(200)),
        recheck_after: [Duration::from_millis(300), Duration::from_millis(900)],
        ..Limits::default()
    }
}

#[tokio::test]
async fn each_failure_of_a_write_means_what_the_caller_can_do() {
    let site = Site::open().await;
    let database = site.database(Arc::new(Owner));
    let ann = [(user("ann"), record(true, 7))];
    let busy = |seconds| {
        Err(WriteError::Busy {
            retry_after: Some(Duration::from_secs(seconds)),
        })
    };
    let ambiguous = || Err(WriteError::Ambiguous);
    let status = |status| Fault::Status(status, "{}".to_owned());
    let hold = |status, retry_after_s| Fault::Busy {
        status,
        retry_after_s,
    };
    for (fault, expected) in [
        (status(500), ambiguous()),
        (status(502), ambiguous()),
        (status(503), Err(WriteError::NotSent)),
        (hold(429, 3), busy(3)),
        (hold(503, 5), busy(5)),
        (Fault::HangBeforeCommit, ambiguous()),
        (Fault::HangAfterCommit, ambiguous()),
        (Fault::ResetBeforeCommit, ambiguous()),
        (Fault::ResetAfterCommit, ambiguous()),
        (Fault::DelayCommit(Duration::from_secs(2)), ambiguous()),
        // The status says it all; the body of a silent write is not waited for.
        (Fault::SlowBody, Ok(())),
        (status(400), Err(WriteError::BadData)),
        (status(413), Err(WriteError::BadData)),
    ] {
        site.base.inject(For::any(), 1, fault.clone());
        let got = soon("the outcome", database.write(&ann, None)).await;
        site.base.clear_faults();
        assert_eq!(got, expected, "{fault:?}");
    }
    for code in [402, 403, 404, 423] {
        site.base.inject(For::any(), 1, status(code));
        let got = database.write(&ann, None).await;
        let Err(WriteError::Denied(reason)) = got else {
            panic!("{code}: {got:?}");
        };
        assert!(reason.starts_with(&format!("status {code};")), "{reason}");
    }
    site.base.inject(For::any(), 1, Fault::SlowBody);
    assert_eq!(database.online().await, Err(ReadError::Unavailable));
}

#[tokio::test]
async fn a_database_that_is_not_there_was_sent_nothing() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = gone.local_addr().unwrap().to_string();
    drop(gone);
    let target = Target::emulator(&host, "x").unwrap();
    let database = client(target, Layout::Bridge, SHORT, Arc::new(Owner));
    let ann = [(user("ann"), record(true, 7))];
    assert_eq!(database.write(&ann, None).await, Err(WriteError::NotSent));
    assert_eq!(database.online().await, Err(ReadError::Unavailable));
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let site = Site::open().await;
    let database = site.database(Arc::new(Owner));
    let ann = [(user("ann"), record(true, 7))];
    let expired = || Fault::Status(401, EXPIRED.to_owned());
    site.base.inject(For::any(), 1, expired());
    assert_eq!(database.write(&ann, None).await, Ok(()));
    site.base.inject(For::any(), 2, expired());
    let why = "status 401: Auth token is expired".to_owned();
    assert_eq!(
        database.write(&ann, None).await,
        Err(WriteError::Denied(why))
    );
}

#[tokio::test]
async fn a_token_that_the_database_no_longer_takes_is_fetched_anew_from_google() {
    let site = Site::open().await;
    let google = Google::open(&site.base).await;
    let file = google.key_file();
    let key = std::fs::read_to_string(file.path()).unwrap().into();
    let tokens = AccessTokens::from_key_file(key, Clock::system(), Arc::default());
    let database = site.database(Arc::new(tokens));
    let ann = [(user("ann"), record(true, 7))];
    assert_eq!(database.write(&ann, None).await, Ok(()));
    google.revoke(1);
    assert_eq!(database.write(&ann, None).await, Ok(()));
    assert_eq!(google.issued(), 2);
    let verdicts: Vec<_> = site.base.history().iter().map(|e| e.verdict).collect();
    let written = Verdict::Committed { records: 1 };
    assert_eq!(verdicts, [written, Verdict::Refused(401), written]);
}

#[tokio::test]
async fn all_transitions_of_a_window_are_one_patch() {
    let site = Site::open().await;
    let limits = Limits {
        flush_interval: Duration::from_millis(400),
        ..quick()
    };
    let mirrored = Mirrored::start(site.database(Arc::new(Owner)), limits);
    site.until("the first look", |base| {
        base.history().iter().any(|entry| entry.path == "/presence")
    })
    .await;
    let before = site.base.counters();
    for n in 0..300_u64 {
        mirrored.want(&format!("u{n}"), record(true, n)).await;
        // Came and went within the window: nothing to tell.
        mirrored.want(&format!("u{n}"), record(n % 3 != 0, n)).await;
    }
    site.until("the flush", |base| {
        base.value("/presence/u299") != Value::Null
    })
    .await;
    let patches = site.asked(&Method::PATCH, "/presence");
    let after = site.base.counters();
    assert_eq!(patches.len(), 1, "{} requests", patches.len());
    assert_eq!(after.records - before.records, 300, "each user once");
    assert_eq!(patches[0].verdict, Verdict::Committed { records: 300 });
    assert!(
        patches[0]
            .query
            .contains(&("print".to_owned(), "silent".to_owned()))
    );
    assert_eq!(mirrored.metrics.mirror_coalesced.get(), 300);
    assert_eq!(mirrored.end().await, Drained { unwritten: 0 });
}

#[tokio::test]
async fn an_ambiguous_write_is_followed_by_the_newest_state_and_never_by_an_older_one() {
    let site = Site::open().await;
    let mirrored = Mirrored::start(site.database(Arc::new(Owner)), quick());
    let patches = For::method(Method::PATCH).under("/presence");
    site.base
        .inject(patches.clone(), 1, Fault::ResetAfterCommit);
    mirrored.want("ann", record(true, 1)).await;
    site.until("the reset write", |base| {
        base.value("/presence/ann/online") == true
    })
    .await;
    site.base.inject(patches, 1, Fault::ResetBeforeCommit);
    mirrored.want("ann", record(false, 2)).await;
    site.until("the newer state", |base| {
        base.value("/presence/ann/online") == false
    })
    .await;
    mirrored.want("ben", record(true, 3)).await;
    site.until("the next write", |base| {
        base.value("/presence/ben/online") == true
    })
    .await;
    assert_eq!(site.base.value("/presence/ann/lastSeen"), 2);
    // In the order of the commits: once newer, never older again.
    let said: Vec<_> = site
        .asked(&Method::PATCH, "/presence")
        .iter()
        .filter_map(|entry| entry.body.as_ref()?.get("ann")?["lastSeen"].as_u64())
        .collect();
    assert!(said.is_sorted(), "{said:?}");
    assert_eq!(mirrored.end().await, Drained { unwritten: 0 });
}

#[tokio::test]
async fn a_write_that_lands_late_over_a_newer_one_is_found_and_put_right() {
    let site = Site::open().await;
    let limits = Limits {
        // Once before the old write lands, once after.
        recheck_after: [SHORT, SHORT * 6],
        ..quick()
    };
    let mirrored = Mirrored::start(site.database(Arc::new(Owner)), limits);
    let late = Fault::DelayCommit(SHORT * 4);
    site.base
        .inject(For::method(Method::PATCH).under("/presence"), 1, late);
    mirrored.want("ben", record(true, 1)).await;
    mirrored.until_sent(1).await;
    // The client gives up and writes anew; that is there before the old write lands.
    mirrored.want("ben", record(false, 4)).await;
    site.until("ben is offline", |base| {
        base.value("/presence/ben/online") == false
    })
    .await;
    site.until("the old write lands", |base| {
        base.value("/presence/ben/online") == true
    })
    .await;
    site.until("it is put right", |base| {
        base.value("/presence/ben/online") == false
    })
    .await;
    assert_eq!(site.base.value("/presence/ben/lastSeen"), 4);
    assert_eq!(mirrored.end().await, Drained { unwritten: 0 });
}

#[tokio::test]
async fn a_mirror_adopts_and_writes_through_resets_until_all_is_true() {
    let site = Site::open().await;
    let old = json!({ "online": true, "lastSeen": 5, "node": NODE });
    assert!(site.base.put("/presence/old", &old));
    let mut mirrored = Mirrored::start(site.database(Arc::new(Owner)), quick());
    let adopted = soon("the adoption", mirrored.adopted.recv()).await.unwrap();
    assert_eq!(adopted[0].0, user("old"));
    site.base
        .inject(For::any().under("/presence"), 2, Fault::ResetAfterCommit);
    for n in 0..5000_u64 {
        let name = format!("u{}", n % 1000);
        mirrored.want(&name, record(n % 2 == 0, n)).await;
    }
    mirrored.want("old", record(false, 9)).await;
    assert_eq!(mirrored.end().await, Drained { unwritten: 0 });
    for n in 4000..5000_u64 {
        let found = site.base.value(&format!("/presence/u{}/online", n % 1000));
        assert_eq!(found, json!(n % 2 == 0));
    }
    assert_eq!(site.base.value("/presence/old/online"), false);
    assert_eq!(site.base.value("/presenceNodes"), Value::Null);
}
