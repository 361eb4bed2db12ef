//! The REST client against what it is made for: the Realtime Database, or what stands in for it.
//!
//! With `FIREBASE_DATABASE_EMULATOR_HOST` set, the contract runs against that emulator; each test has
//! a namespace of its own there. Faults can be injected into the stand-in only: `database_faults`.

use crate::phone::soon;
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{self, DatabaseStandIn};
use presence_bridge::domain::ids::UserId;
use presence_bridge::domain::mirror::Record;
use presence_bridge::domain::time::UnixMillis;
use presence_bridge::firebase::bearer::{Owner, TokenSource};
use presence_bridge::firebase::database::{Database, DatabaseOptions, Target};
use presence_bridge::firebase::schema::{DatabasePath, Layout};
use presence_bridge::services::ports::{ReadError, Records, StoredRecord, WriteError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the bridge asks of the rules, and nobody but administrators is let in.
pub(crate) const RULES: &str = r#"{"rules":{
    ".read": false, ".write": false,
    "presence": {".indexOn": ["online", "state"]}
}}"#;

/// A database with a namespace of this test's own, looked at past the client under test.
pub(crate) struct Base {
    host: String,
    namespace: String,
    client: reqwest::Client,
    _serving: Option<DropGuard>,
}

impl Base {
    /// The emulator where one is named, else the stand-in.
    pub(crate) async fn open(rules: &str) -> Self {
        static OPENED: AtomicUsize = AtomicUsize::new(0);
        let number = OPENED.fetch_add(1, Ordering::SeqCst);
        let (host, serving) = match emulator() {
            Some(host) => (host, None),
            None => {
                let stand_in = DatabaseStandIn::new("demo-contract", rules, Clock::system());
                let (host, guard) = serve(&stand_in.unwrap()).await;
                (host, Some(guard))
            }
        };
        let base = Self {
            host,
            namespace: format!("contract-{}-{number}", std::process::id()),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            _serving: serving,
        };
        let (status, said) = base.put("/.settings/rules", rules.to_owned()).await;
        assert_eq!(status, 200, "{said}");
        base
    }

    pub(crate) async fn put(&self, path: &str, body: String) -> (u16, Value) {
        let url = format!("http://{}{path}.json?ns={}", self.host, self.namespace);
        let request = self.client.put(url).bearer_auth("owner").body(body);
        let answer = soon(path, request.send()).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn value(&self, path: &str) -> Value {
        let url = format!("http://{}{path}.json?ns={}", self.host, self.namespace);
        let request = self.client.get(url).bearer_auth("owner");
        soon(path, request.send())
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    pub(crate) fn client(&self, layout: Layout) -> Database {
        let target = Target::emulator(&self.host, &self.namespace).unwrap();
        client(target, layout, Duration::from_secs(20), Arc::new(Owner))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the tests names the emulator as every Firebase tool is told of it"
)]
fn emulator() -> Option<String> {
    std::env::var("FIREBASE_DATABASE_EMULATOR_HOST")
        .ok()
        .filter(|host| !host.is_empty())
}

pub(crate) async fn serve(stand_in: &DatabaseStandIn) -> (String, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    tokio::spawn(database::serve(listener, stand_in.clone(), stop.clone()));
    (host, stop.drop_guard())
}

pub(crate) const NODE: &str = "eu/1.a";
pub(crate) const BOOT: &str = "b$1";

pub(crate) fn client(
    target: Target,
    layout: Layout,
    timeout: Duration,
    tokens: Arc<dyn TokenSource>,
) -> Database {
    let options = DatabaseOptions {
        target,
        presence_path: DatabasePath::parse("/presence").unwrap(),
        nodes_path: DatabasePath::parse("/presenceNodes").unwrap(),
        fence_path: DatabasePath::parse("/presenceFence").unwrap(),
        layout,
        node: NODE.to_owned(),
        boot: BOOT.to_owned(),
        timeout,
        heartbeat_interval: Duration::from_secs(10),
    };
    Database::new(options, tokens, Arc::default(), Clock::system()).unwrap()
}

pub(crate) fn record(online: bool, ms: u64) -> Record {
    Record {
        online,
        last_seen: UnixMillis(ms),
    }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn users(found: Vec<StoredRecord>) -> Vec<UserId> {
    let mut users: Vec<UserId> = found.into_iter().map(|stored| stored.user).collect();
    users.sort();
    users
}

/// Ids that Firebase allows and paths, queries and JSON like to trip over.
const ODD: [&str; 20] = [
    "ann",
    "a.b",
    "a/b",
    "a%2Fb",
    "100%",
    "a b",
    "x?y&z=1",
    "é😀",
    "a\"b\\",
    "1",
    "2",
    "5",
    "$#[]",
    "\t\u{7f}",
    "..",
    ".",
    "+",
    "a+b",
    "__proto__",
    "-",
];

#[tokio::test]
async fn every_user_id_comes_back_as_it_went_in_both_layouts() {
    for layout in [Layout::Bridge, Layout::FirebaseGuide] {
        let base = Base::open(RULES).await;
        let database = base.client(layout);
        // As many bytes as a key may have (768), and as many characters as an id.
        let long = ["😀".repeat(128), "/".repeat(128)];
        let names = ODD.iter().copied().chain(long.iter().map(String::as_str));
        let mut all: Vec<UserId> = names.map(user).collect();
        all.sort();
        let records: Vec<_> = all.iter().map(|u| (u.clone(), record(true, 7))).collect();
        assert_eq!(database.write(&records, None).await, Ok(()));
        assert_eq!(users(database.online().await.unwrap()), all);
        for one in &all {
            let read = database.read(one).await;
            assert_eq!(read, Ok(Some(record(true, 7))), "{one:?}");
        }
        let gone = [(all[3].clone(), record(false, 8))];
        assert_eq!(database.write(&gone, None).await, Ok(()));
        all.remove(3);
        assert_eq!(users(database.online().await.unwrap()), all);
        assert_eq!(database.read(&user("nobody")).await, Ok(None));
    }
}

#[tokio::test]
async fn a_record_has_the_documented_shape_and_others_members_are_replaced() {
    let base = Base::open(RULES).await;
    let ann = [(user("ann"), record(true, 1_700_000_000_000))];
    let older = json!({ "online": false, "lastSeen": 1, "mood": "gone" });
    base.put("/presence/ann", older.to_string()).await;
    base.put("/presence/ben", older.to_string()).await;
    base.client(Layout::Bridge).write(&ann, None).await.unwrap();
    let bridge = json!({ "online": true, "lastSeen": 1_700_000_000_000_u64, "node": NODE });
    let expected = json!({ "ann": bridge, "ben": older });
    assert_eq!(
        base.value("/presence").await,
        expected,
        "and ben is left alone"
    );
    base.client(Layout::FirebaseGuide)
        .write(&ann, None)
        .await
        .unwrap();
    let guide = json!({ "state": "online", "last_changed": 1_700_000_000_000_u64 });
    assert_eq!(base.value("/presence/ann").await, guide);
}

#[tokio::test]
async fn numeric_users_that_the_database_shows_as_an_array_are_understood() {
    let base = Base::open(RULES).await;
    let database = base.client(Layout::Bridge);
    let all: Vec<_> = (0..6)
        .map(|n: u64| (user(&n.to_string()), record(n != 3, 7)))
        .collect();
    database.write(&all, None).await.unwrap();
    assert!(base.value("/presence").await.is_array());
    let expected: Vec<UserId> = ["0", "1", "2", "4", "5"].map(user).into();
    assert_eq!(users(database.online().await.unwrap()), expected);
}

#[tokio::test]
async fn heartbeats_carry_the_databases_time_and_are_forgotten_one_by_one() {
    let base = Base::open(RULES).await;
    let database = base.client(Layout::Bridge);
    assert_eq!(database.nodes().await, Ok(Vec::new()));
    let beat = database.beat().await.unwrap();
    let now = Clock::system().unix().0;
    assert!(beat.0.abs_diff(now) < 3_600_000, "{} is not {now}", beat.0);
    let nodes = database.nodes().await.unwrap();
    let [only] = &nodes[..] else {
        panic!("{nodes:?}")
    };
    assert_eq!((only.node.as_str(), only.boot.as_str()), (NODE, BOOT));
    assert_eq!(
        (only.heartbeat, only.interval),
        (beat, Duration::from_secs(10))
    );
    assert!(database.beat().await.unwrap() >= beat);
    // Numeric names come as arrays; what is no heartbeat is left alone.
    let others = json!({ "0": { "heartbeat": 5, "intervalMs": 10000 } });
    base.put("/presenceNodes/1", others.to_string()).await;
    base.put("/presenceNodes/x", "3".to_owned()).await;
    assert_eq!(database.nodes().await.unwrap().len(), 2);
    assert_eq!(database.forget(NODE, BOOT).await, Ok(()));
    assert_eq!(
        database.forget(NODE, BOOT).await,
        Ok(()),
        "once more does no harm"
    );
    let left = database.nodes().await.unwrap();
    assert_eq!((left.len(), left[0].node.as_str()), (1, "1"));
}

#[tokio::test]
async fn without_an_index_the_whole_tree_is_read() {
    let base = Base::open(r#"{"rules":{".read":false,".write":false}}"#).await;
    let database = base.client(Layout::Bridge);
    let both = [
        (user("ann"), record(true, 7)),
        (user("ben"), record(false, 7)),
    ];
    database.write(&both, None).await.unwrap();
    assert_eq!(users(database.online().await.unwrap()), [user("ann")]);
}

#[tokio::test]
async fn records_of_other_peoples_shape_are_left_alone() {
    let base = Base::open(RULES).await;
    let database = base.client(Layout::Bridge);
    let strange = json!({
        "ann": { "online": true, "lastSeen": 7, "node": "main" },
        "b1": { "online": true },
        "b2": { "online": true, "lastSeen": "yesterday" },
        "b3": { "online": "yes", "lastSeen": 7 },
        "b4": { "online": true, "lastSeen": -1.5 },
        "b5": true,
        "b6": { "online": { "phone": true }, "lastSeen": 7 },
    });
    base.put("/presence", strange.to_string()).await;
    let found = database.online().await.unwrap();
    assert!(
        found.iter().any(|stored| stored.user == user("ann")),
        "{found:?}"
    );
    assert!(
        !found.iter().any(|stored| stored.user == user("b5")),
        "{found:?}"
    );
    assert_eq!(base.value("/presence").await, strange);
}

#[tokio::test]
async fn validation_rules_that_an_app_has_for_its_own_writes_do_not_stop_the_bridge() {
    let rules = r#"{"rules":{".read":false,".write":false,"presence":{
        ".indexOn": ["online"], "$user": { ".validate": "newData.child('lastSeen').val() < 100" }}}}"#;
    let base = Base::open(rules).await;
    let database = base.client(Layout::Bridge);
    let ben = [(user("ben"), record(true, 700))];
    assert_eq!(database.write(&ben, None).await, Ok(()));
    assert_eq!(users(database.online().await.unwrap()), [user("ben")]);
}

#[tokio::test]
async fn strangers_are_refused_and_the_refusal_says_why() {
    struct Stranger;
    impl TokenSource for Stranger {
        fn token(
            &self,
        ) -> presence_bridge::services::ports::BoxFuture<
            '_,
            Result<String, presence_bridge::firebase::bearer::TokenError>,
        > {
            Box::pin(async { Ok("c4nary".to_owned()) })
        }
        fn invalidate(&self, _rejected: &str) {}
    }
    let base = Base::open(RULES).await;
    let target = Target::emulator(&base.host, &base.namespace).unwrap();
    let patience = Duration::from_secs(20);
    let database = client(target, Layout::Bridge, patience, Arc::new(Stranger));
    let Err(WriteError::Denied(why)) = database
        .write(&[(user("ann"), record(true, 7))], None)
        .await
    else {
        panic!("a stranger wrote")
    };
    assert!(
        why.starts_with("status 401") && !why.contains("c4nary"),
        "{why}"
    );
    assert!(matches!(database.online().await, Err(ReadError::Denied(_))));
    assert!(matches!(database.beat().await, Err(WriteError::Denied(_))));
    assert_eq!(base.value("/").await, Value::Null);
}
