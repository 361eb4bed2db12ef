mod fence;

use super::script::{Reply, Script, say};
use super::*;
use crate::firebase::bearer::TokenError;
use std::sync::Mutex;

/// Hands out `first`, and `second` once `first` was refused.
#[derive(Default)]
struct TwoTokens {
    rejected: Mutex<Vec<String>>,
    broken: bool,
}

impl TokenSource for TwoTokens {
    fn token(&self) -> BoxFuture<'_, Result<String, TokenError>> {
        let first = self.rejected.lock().unwrap().is_empty();
        let token = if first { "first" } else { "second" };
        let answer = if self.broken {
            Err(TokenError)
        } else {
            Ok(token.to_owned())
        };
        Box::pin(async { answer })
    }

    fn invalidate(&self, rejected: &str) {
        self.rejected.lock().unwrap().push(rejected.to_owned());
    }
}

fn options(address: &str, layout: Layout) -> DatabaseOptions {
    DatabaseOptions {
        target: Target::production(&format!("http://{address}")).unwrap(),
        presence_path: DatabasePath::parse("/presence").unwrap(),
        nodes_path: DatabasePath::parse("/presenceNodes").unwrap(),
        fence_path: DatabasePath::parse("/presenceFence").unwrap(),
        layout,
        node: "main".to_owned(),
        boot: "boot.1".to_owned(),
        timeout: Duration::from_secs(30),
        heartbeat_interval: Duration::from_secs(10),
    }
}

fn database_of(options: DatabaseOptions) -> Database {
    let tokens = Arc::new(TwoTokens::default());
    Database::new(options, tokens, Arc::default(), Clock::system()).unwrap()
}

async fn bench(replies: impl IntoIterator<Item = Reply>) -> (Script, Database) {
    let script = Script::start(replies).await;
    let database = database_of(options(&script.address.to_string(), Layout::Bridge));
    (script, database)
}

/// Like [`bench`], with little patience.
async fn hasty(replies: impl IntoIterator<Item = Reply>) -> Database {
    let script = Script::start(replies).await;
    let mut options = options(&script.address.to_string(), Layout::Bridge);
    options.timeout = Duration::from_millis(1_500);
    database_of(options)
}

fn ann() -> [(UserId, Record); 1] {
    let record = Record {
        online: true,
        last_seen: UnixMillis(5),
    };
    [(UserId::parse("a.nn").unwrap(), record)]
}

async fn write_after(reply: Reply) -> Result<(), WriteError> {
    let (_script, database) = bench([reply.clone(), reply]).await;
    database.write(&ann(), None).await
}

#[tokio::test]
async fn a_batch_is_one_silent_patch_with_the_keys_in_the_body() {
    let (script, database) = bench([say(204, "")]).await;
    assert_eq!(database.write(&ann(), None).await, Ok(()));
    let asked = script.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "PATCH /presence.json?print=silent");
    assert_eq!(asked[0].authorization, "Bearer first");
    let body = r#"{"a%2Enn":{"lastSeen":5,"node":"main","online":true}}"#;
    assert_eq!(asked[0].body, body);
}

#[tokio::test]
async fn a_status_of_success_is_success_whatever_the_body() {
    for reply in [
        say(200, "{}"),
        say(200, "nonsense"),
        Reply::CutShort(200),
        Reply::Dawdle(200),
    ] {
        assert_eq!(write_after(reply).await, Ok(()));
    }
}

#[tokio::test]
async fn failures_say_what_the_caller_can_do() {
    let busy = |seconds| WriteError::Busy {
        retry_after: Some(Duration::from_secs(seconds)),
    };
    let with = |status, header| Reply::Say(status, header, String::new());
    let cases = [
        (say(503, ""), WriteError::NotSent),
        (with(503, "Retry-After: 7\r\n"), busy(7)),
        (with(429, "Retry-After: 7\r\n"), busy(7)),
        (with(429, "retry-after: 86400\r\n"), busy(600)),
        (
            with(429, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
            busy(0),
        ),
        // Both by the database's clock, however far off ours is.
        (
            with(
                429,
                "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nRetry-After: Thu, 01 Jan 1970 00:00:09 GMT\r\n",
            ),
            busy(9),
        ),
        (say(429, ""), WriteError::Busy { retry_after: None }),
        (say(500, ""), WriteError::Ambiguous),
        (say(502, ""), WriteError::Ambiguous),
        (say(504, ""), WriteError::Ambiguous),
        (say(408, ""), WriteError::Ambiguous),
        (Reply::Reset, WriteError::Ambiguous),
        (say(400, ""), WriteError::BadData),
        (say(413, ""), WriteError::BadData),
    ];
    for (reply, error) in cases {
        let told = format!("{reply:?}");
        assert_eq!(write_after(reply).await, Err(error), "{told}");
    }
    for status in [302, 401, 402, 403, 404, 405, 423] {
        let result = write_after(say(status, "")).await;
        let Err(WriteError::Denied(reason)) = result else {
            panic!("{status}: {result:?}");
        };
        assert!(reason.starts_with(&format!("status {status}")), "{reason}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_sent_and_a_hang_is_ambiguous() {
    let script = Script::start([]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    assert_ne!(closed, script.address);
    let database = database_of(options(&closed.to_string(), Layout::Bridge));
    assert_eq!(database.write(&ann(), None).await, Err(WriteError::NotSent));
    let database = hasty([Reply::Hang]).await;
    assert_eq!(
        database.write(&ann(), None).await,
        Err(WriteError::Ambiguous)
    );
    while database.write(&ann(), None).await != Ok(()) {
        // On a new connection it works, sooner or later on a busy machine.
    }
}

#[tokio::test]
async fn no_token_is_not_sent() {
    let script = Script::start([]).await;
    let tokens = Arc::new(TwoTokens {
        broken: true,
        ..TwoTokens::default()
    });
    let options = options(&script.address.to_string(), Layout::Bridge);
    let database = Database::new(options, tokens, Arc::default(), Clock::system()).unwrap();
    assert_eq!(database.write(&ann(), None).await, Err(WriteError::NotSent));
    assert_eq!(script.asked().len(), 0);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let expired = say(401, r#"{"error":"Auth token is expired"}"#);
    let (script, database) = bench([expired.clone(), say(204, ""), expired.clone(), expired]).await;
    assert_eq!(database.write(&ann(), None).await, Ok(()));
    let tokens: Vec<String> = script
        .asked()
        .into_iter()
        .map(|a| a.authorization)
        .collect();
    assert_eq!(tokens, ["Bearer first", "Bearer second"]);
    let denied = WriteError::Denied("status 401: Auth token is expired".to_owned());
    assert_eq!(database.write(&ann(), None).await, Err(denied));
    assert_eq!(script.asked().len(), 4);
}

#[tokio::test]
async fn reasons_are_short_and_printable() {
    let body = format!(r#"{{"error":"a\nb\u001b[0m{}"}}"#, "x".repeat(9999));
    let Err(WriteError::Denied(reason)) = write_after(say(403, &body)).await else {
        panic!("not denied");
    };
    assert!(
        reason.starts_with(r"status 403: a\u{a}b\u{1b}[0mxxx"),
        "{reason}"
    );
    assert!(reason.len() < 400);
    let body = r#"{"correctUrl":"https://chat.europe-west1.firebasedatabase.app/x?y","error":"Database lives in a different region."}"#;
    let expected = "status 404: Database lives in a different region.; set FIREBASE_DATABASE_URL to https://chat.europe-west1.firebasedatabase.app";
    let result = write_after(say(404, body)).await;
    assert_eq!(result, Err(WriteError::Denied(expected.to_owned())));
}

#[tokio::test]
async fn what_a_person_must_cure_is_named_with_the_cure() {
    for (status, error, cure) in [
        (
            401,
            "Unauthorized request.",
            "Firebase Realtime Database Admin",
        ),
        (402, "over quota", "billing"),
        (
            403,
            "Invalid Firebase database name",
            "FIREBASE_DATABASE_URL",
        ),
        (404, "404 Not Found", "FIREBASE_DATABASE_URL"),
        (
            423,
            "The Firebase database 'x' has been deactivated.",
            "enable it",
        ),
    ] {
        let body = serde_json::json!({ "error": error }).to_string();
        let reply = say(status, &body);
        let (_script, database) = bench([reply.clone(), reply]).await;
        let Err(WriteError::Denied(reason)) = database.beat().await else {
            panic!("{status} is for a person");
        };
        assert!(reason.contains(error) && reason.contains(cure), "{reason}");
    }
}

#[tokio::test]
async fn who_is_online_is_asked_by_the_index() {
    let body = r#"{"ann":{"online":true,"lastSeen":5,"node":"main"},"bob":7}"#;
    let (script, database) = bench([say(200, body)]).await;
    let online = database.online().await.unwrap();
    assert_eq!(online.len(), 1);
    assert_eq!(online[0].node.as_deref(), Some("main"));
    let line = "GET /presence.json?orderBy=%22online%22&equalTo=true";
    assert_eq!(script.asked()[0].line, line);
}

#[tokio::test]
async fn the_guides_layout_is_asked_by_its_own_index() {
    let script = Script::start([]).await;
    let database = database_of(options(&script.address.to_string(), Layout::FirebaseGuide));
    assert_eq!(database.online().await, Ok(Vec::new()));
    let line = "GET /presence.json?orderBy=%22state%22&equalTo=%22online%22";
    assert_eq!(script.asked()[0].line, line);
}

#[tokio::test]
async fn without_the_index_everybody_is_read_and_filtered() {
    let missing = r#"{"error":"Index not defined, add \".indexOn\": \"online\", for path \"/presence\", to the rules"}"#;
    let all = r#"{"ann":{"online":true,"lastSeen":5},"bob":{"online":false,"lastSeen":6}}"#;
    let (script, database) = bench([say(400, missing), say(200, all)]).await;
    assert_eq!(database.online().await.unwrap().len(), 1);
    assert_eq!(script.asked()[1].line, "GET /presence.json");
    // Users whose uids are numbers come as an array.
    let all = r#"[null,{"online":true,"lastSeen":5},{"online":false,"lastSeen":6}]"#;
    let (_script, database) = bench([say(400, missing), say(200, all)]).await;
    let online = database.online().await.unwrap();
    let users: Vec<&str> = online.iter().map(|stored| stored.user.as_str()).collect();
    assert_eq!(users, ["1"]);
}

#[tokio::test]
async fn reads_that_fail_say_so() {
    let cut_json = say(200, r#"{"ann":{"online":tr"#);
    for reply in [
        say(500, ""),
        say(503, ""),
        Reply::CutShort(200),
        Reply::Reset,
        cut_json,
    ] {
        let (_script, database) = bench([reply]).await;
        assert_eq!(database.online().await, Err(ReadError::Unavailable));
    }
    for status in [429, 503] {
        let busy = Reply::Say(status, "Retry-After: 7\r\n", String::new());
        let (_script, database) = bench([busy]).await;
        let retry_after = Some(Duration::from_secs(7));
        let busy = ReadError::Busy { retry_after };
        assert_eq!(database.online().await, Err(busy));
    }
    let (_script, database) = bench([say(400, r#"{"error":"bad"}"#)]).await;
    let denied = ReadError::Denied("status 400: bad".to_owned());
    assert_eq!(database.online().await, Err(denied));
    let (_script, database) = bench([say(200, &format!("\"{}\"", "x".repeat(20_000)))]).await;
    let large = ReadError::Denied("the answer is too large".to_owned());
    assert_eq!(database.read(&ann()[0].0).await, Err(large));
    let database = hasty([Reply::Dawdle(200)]).await;
    assert_eq!(database.nodes().await, Err(ReadError::Unavailable));
}

#[tokio::test]
async fn one_user_is_read_by_the_key_encoded_once_more() {
    let (script, database) = bench([
        say(200, r#"{"online":false,"lastSeen":9}"#),
        say(200, "null"),
    ])
    .await;
    let (user, _) = ann()[0].clone();
    let record = Record {
        online: false,
        last_seen: UnixMillis(9),
    };
    assert_eq!(database.read(&user).await, Ok(Some(record)));
    assert_eq!(database.read(&user).await, Ok(None));
    assert_eq!(script.asked()[0].line, "GET /presence/a%252Enn.json");
}

#[tokio::test]
async fn a_heartbeat_is_put_and_answers_the_time_of_the_database() {
    let beat = say(200, r#"{"heartbeat":1700000000000,"intervalMs":10000}"#);
    let (script, database) = bench([beat, say(200, "{}"), Reply::CutShort(200)]).await;
    assert_eq!(database.beat().await, Ok(UnixMillis(1_700_000_000_000)));
    assert_eq!(database.beat().await, Err(WriteError::Ambiguous));
    assert_eq!(database.beat().await, Err(WriteError::Ambiguous));
    let asked = &script.asked()[0];
    assert_eq!(asked.line, "PUT /presenceNodes/main/boot%252E1.json");
    assert_eq!(
        asked.body,
        r#"{"heartbeat":{".sv":"timestamp"},"intervalMs":10000}"#
    );
}

#[tokio::test]
async fn heartbeats_are_read_and_forgotten() {
    let nodes = r#"{"main":{"b1":{"heartbeat":7,"intervalMs":10000}}}"#;
    let (script, database) = bench([say(200, nodes), say(204, "")]).await;
    let beats = database.nodes().await.unwrap();
    assert_eq!(
        (beats[0].node.as_str(), beats[0].boot.as_str()),
        ("main", "b1")
    );
    assert_eq!(database.forget("main", "b1").await, Ok(()));
    let line = "DELETE /presenceNodes/main/b1.json?print=silent";
    assert_eq!(script.asked()[1].line, line);
}

#[tokio::test]
async fn a_page_starts_at_the_last_key_and_asks_for_one_more() {
    let (script, database) = bench([say(200, "null"), say(200, "null")]).await;
    database.page(None, 50).await.unwrap();
    database.page(Some("a\"b"), 50).await.unwrap();
    let asked = script.asked();
    let first = "GET /presence.json?orderBy=%22%24key%22&limitToFirst=50";
    assert_eq!(asked[0].line, first);
    let next = "GET /presence.json?orderBy=%22%24key%22&limitToFirst=51&startAt=%22a%5C%22b%22";
    assert_eq!(asked[1].line, next);
}

#[tokio::test]
async fn the_emulator_is_asked_as_owner_in_its_namespace() {
    let script = Script::start([say(204, "")]).await;
    let mut options = options("localhost", Layout::Bridge);
    options.target = Target::emulator(&script.address.to_string(), "chat").unwrap();
    let owner = Arc::new(crate::firebase::bearer::Owner);
    let database = Database::new(options, owner, Arc::default(), Clock::system()).unwrap();
    assert_eq!(database.write(&ann(), None).await, Ok(()));
    let asked = &script.asked()[0];
    assert_eq!(asked.line, "PATCH /presence.json?ns=chat&print=silent");
    assert_eq!(asked.authorization, "Bearer owner");
}

#[tokio::test]
async fn requests_are_counted_by_kind_and_outcome() {
    let script = Script::start([say(204, ""), say(500, "")]).await;
    let metrics = Arc::new(Metrics::new());
    let options = options(&script.address.to_string(), Layout::Bridge);
    let tokens = Arc::new(TwoTokens::default());
    let database = Database::new(options, tokens, Arc::clone(&metrics), Clock::system()).unwrap();
    assert_eq!(database.write(&ann(), None).await, Ok(()));
    assert_eq!(
        database.write(&ann(), None).await,
        Err(WriteError::Ambiguous)
    );
    let page = metrics.encode().unwrap();
    for line in [
        r#"bridge_database_requests_total{op="flush"} 2"#,
        r#"bridge_database_outcomes_total{outcome="ok"} 1"#,
        r#"bridge_database_outcomes_total{outcome="ambiguous"} 1"#,
        r#"bridge_database_seconds_count{op="flush"} 2"#,
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}
