//! The real binary: what it refuses, how it ends, what it never prints.

use crate::google::{Google, access_token};
use crate::mint;
use crate::phone::{Phone, soon};
use crate::process::{Process, accounts, run};
use crate::wire::Wire;
use crate::world::{get, serve};
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{DEFAULT_RULES, DatabaseStandIn, Fault, Target};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;

/// `DRAIN_TIMEOUT`'s default; the process must be gone within it.
const DRAIN: Duration = Duration::from_secs(8);
const DEV_PROJECT: &str = "demo-presence-bridge";
const PRODUCTION: (&str, &str) = ("FIREBASE_DATABASE_URL", "https://chat.firebaseio.com");
const AUTH: (&str, &str) = ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099");
const DATABASE: (&str, &str) = ("FIREBASE_DATABASE_EMULATOR_HOST", "127.0.0.1:9000");
const DEMO: (&str, &str) = ("FIREBASE_PROJECT_ID", "demo-chat");
const REAL: (&str, &str) = ("FIREBASE_PROJECT_ID", "chat");

#[tokio::test]
async fn emulators_never_meet_production() {
    let run_service = ("K_SERVICE", "bridge");
    let elsewhere = ("GCLOUD_PROJECT", "chat");
    let fly = ("FLY_APP_NAME", "bridge");
    for (environment, names) in [
        (&[DEMO, PRODUCTION, AUTH][..], &[PRODUCTION.0, AUTH.0][..]),
        (&[REAL, AUTH, DATABASE], &[REAL.0, AUTH.0]),
        (&[REAL, PRODUCTION, AUTH], &[REAL.0, PRODUCTION.0, AUTH.0]),
        (&[DEMO, DATABASE], &[DATABASE.0, AUTH.0]),
        (&[REAL, PRODUCTION, DATABASE], &[DATABASE.0, AUTH.0]),
        (
            &[DEMO, AUTH, DATABASE, run_service],
            &[AUTH.0, run_service.0],
        ),
        (&[DEMO, AUTH, DATABASE, fly], &[AUTH.0, fly.0]),
        (&[elsewhere, AUTH, DATABASE], &[elsewhere.0, AUTH.0]),
    ] {
        let output = run(&[], environment).await;
        let list = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{environment:?}: {list}");
        assert!(output.stdout.is_empty(), "{environment:?}");
        for name in names {
            assert!(list.contains(name), "{name} is not named: {list}");
        }
    }
}

#[tokio::test]
async fn one_run_names_everything_that_is_wrong() {
    let output = run(
        &[],
        &[
            ("PORT", "http"),
            ("PRESENCE_GRACE", "ten"),
            ("LIMIT_MESSAGE_SIZE", "16"),
            ("PRESENCE_GRACES", "10s"),
            ("TYPING_TLL", "6s"),
            ("APP_CHECK", "on"),
            ("CORS_ORIGINS", "app.example.com"),
            ("FIREBASE_DATABASE_TIMEOUT", "20s"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/c4nary.json"),
        ],
    )
    .await;
    assert_eq!(output.status.code(), Some(64));
    let list = String::from_utf8(output.stderr).unwrap();
    for name in [
        "PORT",
        "PRESENCE_GRACE",
        "LIMIT_MESSAGE_SIZE",
        "PRESENCE_GRACES",
        "TYPING_TLL",
        "APP_CHECK",
        "CORS_ORIGINS",
        "FIREBASE_DATABASE_TIMEOUT",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "FIREBASE_PROJECT_ID",
        "FIREBASE_DATABASE_URL",
    ] {
        assert!(
            list.lines().any(|line| line.contains(name)),
            "{name}: {list}"
        );
    }
    assert!(list.contains("TYPING_TTL"), "the nearest name: {list}");
}

/// A `dev` process on a database that outlives it.
async fn on(database: &DatabaseStandIn) -> (Process, tokio_util::sync::DropGuard) {
    let (address, guard) = serve(database).await;
    let host = address.to_string();
    let process = Process::start(
        &["dev"],
        &[
            ("FIREBASE_DATABASE_EMULATOR_HOST", &host),
            ("PRESENCE_FLUSH_INTERVAL", "20ms"),
        ],
    )
    .await;
    (process, guard)
}

fn database() -> DatabaseStandIn {
    DatabaseStandIn::new(DEV_PROJECT, DEFAULT_RULES, Clock::system()).unwrap()
}

async fn until_online(database: &DatabaseStandIn, user: &str) {
    let path = format!("/presence/{user}/online");
    soon(user, database.until(|base| base.value(&path) == true)).await;
}

#[tokio::test]
async fn asked_to_stop_it_tells_everybody_writes_the_truth_and_ends_in_time() {
    for signal in [Signal::TERM, Signal::INT] {
        let database = database();
        let (process, _serving) = on(&database).await;
        let accounts = accounts();
        let mut ann = process.connect(&accounts, "ann").await;
        let ben = process.connect(&accounts, "ben").await;
        until_online(&database, "ann").await;
        until_online(&database, "ben").await;
        // Within the grace: still online when the end comes.
        ben.leave().await;
        process.signal(signal);
        let closing = ann.hear("closing").await;
        assert_eq!(closing["code"], "draining");
        assert_eq!(closing["reconnect"], true);
        ann.ended().await;
        let (status, printed) = process.ended(DRAIN).await;
        assert_eq!(status.code(), Some(0), "{printed}");
        for user in ["ann", "ben"] {
            let record = database.value(&format!("/presence/{user}"));
            assert_eq!(record["online"], false, "{user}");
        }
        assert_eq!(database.value("/presenceNodes"), Value::Null);
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let database = database();
    let (process, _serving) = on(&database).await;
    let _ann = process.connect(&accounts(), "ann").await;
    until_online(&database, "ann").await;
    let flush = Target::method(axum::http::Method::PATCH).under("/presence");
    database.inject(flush, 100, Fault::HangBeforeCommit);
    process.signal(Signal::TERM);
    process.until("draining").await;
    process.signal(Signal::TERM);
    // The drain alone would wait for the database longer than this.
    let (status, printed) = process.ended(Duration::from_secs(3)).await;
    assert!(
        status.code().is_some(),
        "it ends itself, in order: {status}"
    );
    assert!(!printed.contains("drained"), "{printed}");
}

#[tokio::test]
async fn a_database_that_hangs_does_not_hold_up_the_end() {
    let database = database();
    let (process, _serving) = on(&database).await;
    let _ann = process.connect(&accounts(), "ann").await;
    until_online(&database, "ann").await;
    database.inject(Target::any(), 1_000, Fault::HangBeforeCommit);
    process.signal(Signal::TERM);
    let (status, printed) = process.ended(DRAIN).await;
    assert!(status.code().is_some(), "{status}");
    assert!(
        printed.contains("unwritten"),
        "what was lost is told: {printed}"
    );
}

#[tokio::test]
async fn dev_needs_no_settings() {
    let process = Process::start(&["dev"], &[]).await;
    process.until("curl http://").await;
    assert_eq!(process.address("demo page"), process.public);
    let (status, page) = get(process.public, "/").await;
    assert_eq!(status, 200);
    assert!(page.contains("/client/socket.io.min.js"), "{page}");
    let ready = soon("readiness", async {
        loop {
            let (status, report) = get(process.public, "/readyz").await;
            if status == 200 {
                break report;
            }
        }
    });
    assert_eq!(ready.await, r#"{"status":"ready","reasons":[]}"#);
    assert_eq!(get(process.public, "/metrics").await.0, 404);
    assert_eq!(get(process.admin, "/metrics").await.0, 200);
    let mut ann = process.connect(&accounts(), "ann").await;
    ann.join("x").await;
}

#[tokio::test]
async fn when_file_descriptors_run_out_strangers_hear_503_until_there_are_some_again() {
    let process = Process::with_files(160, "dev").await;
    let accounts = accounts();
    let mut ann = process.connect(&accounts, "ann").await;
    let ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(Wire::open(process.public).await);
    }
    let heard = Wire::open(process.public)
        .await
        .exchange(ask.to_vec())
        .await;
    assert!(heard.starts_with("HTTP/1.1 503"), "{heard}");
    ann.join("x").await;
    drop(held);
    soon("a place", async {
        while !Wire::open(process.public)
            .await
            .exchange(ask.to_vec())
            .await
            .starts_with("HTTP/1.1 200")
        {}
    })
    .await;
    process.connect(&accounts, "ben").await;
    let (_, metrics) = get(process.admin, "/metrics").await;
    assert!(!metrics.contains("bridge_tcp_refused_total 0"), "{metrics}");
}

/// Words that only this test says, in the places where secrets and private words are.
struct Canaries {
    socket: String,
    token: String,
    message: &'static str,
}

#[tokio::test]
async fn no_token_no_message_and_no_socket_id_is_ever_printed() {
    let database = DatabaseStandIn::new("demo-test", DEFAULT_RULES, Clock::system()).unwrap();
    let (address, _serving) = serve(&database).await;
    let google = Google::open(&database).await;
    let key_file = google.key_file();
    let (keys_url, url) = (google.keys_url(), format!("http://{address}"));
    for format in ["text", "json"] {
        let process = Process::start(
            &[],
            &[
                (
                    "RUST_LOG",
                    "trace,hyper=trace,socketioxide=trace,engineioxide=trace",
                ),
                ("LOG_FORMAT", format),
                ("HOST", "127.0.0.1"),
                ("FIREBASE_PROJECT_ID", "demo-test"),
                ("AUTH_KEYS_URL", &keys_url),
                ("FIREBASE_DATABASE_URL", &url),
                ("GOOGLE_APPLICATION_CREDENTIALS", key_file.path()),
                ("PRESENCE_GRACE", "50ms"),
                ("PRESENCE_FLUSH_INTERVAL", "20ms"),
            ],
        )
        .await;
        let canaries = talk(&process, &database).await;
        let metrics = get(process.admin, "/metrics").await.1;
        process.signal(Signal::TERM);
        let (status, printed) = process.ended(DRAIN).await;
        assert_eq!(status.code(), Some(0), "{printed}");
        assert!(printed.contains("serving"), "{printed}");
        let signature = canaries.token.rsplit('.').next().unwrap();
        let payload = canaries.token.split('.').nth(1).unwrap();
        let access = access_token(1);
        let access = access.trim_end_matches('1');
        for secret in [
            &canaries.socket,
            payload,
            signature,
            canaries.message,
            access,
            "c4nary",
        ] {
            for (where_, text) in [("log", &printed), ("metrics", &metrics)] {
                assert!(!text.contains(secret), "{secret} in the {where_}: {text}");
            }
        }
        assert!(!printed.contains("BEGIN PRIVATE KEY"));
    }
}

/// Everything that carries a secret flows: good and bad tokens, messages, ids, in order and not.
async fn talk(process: &Process, database: &DatabaseStandIn) -> Canaries {
    let clock = Clock::system();
    let token = |user: &str| mint::keys()[0].mint(&crate::world::claims(user, &clock));
    let mine = token("ann");
    let message = "c4nary-message";
    let ready = async { while get(process.public, "/readyz").await.0 != 200 {} };
    soon("readiness", ready).await;
    let mut ann = Phone::connect(process.public, &mine).await.unwrap();
    let mut ben = Phone::connect(process.public, &token("ben")).await.unwrap();
    ann.join("c4nary-chat").await;
    ben.join("c4nary-chat").await;
    let payload =
        json!({ "chatId": "c4nary-chat", "message": message, "clientMessageId": "c4nary-id" });
    ann.ask("send_message", payload).await;
    ben.hear("new_message").await;
    ben.ask("typing", json!({ "chatId": "c4nary-chat" })).await;
    ben.ask("refresh_token", json!({ "token": "c4nary.c4nary.c4nary" }))
        .await;
    ben.ask("refresh_token", json!({ "token": token("ben") }))
        .await;
    ben.say("c4nary_event", json!({ "c4nary": message })).await;
    ben.say("join_chat", json!({ "chatId": "c4nary/\u{1b}[2J" }))
        .await;
    ben.hear("event_error").await;
    for auth in [
        json!({ "token": "c4nary" }),
        json!({ "token": mint::unsigned(&json!({ "sub": "c4nary" })) }),
    ] {
        assert!(Phone::handshake(process.public, auth).await.is_err());
    }
    let query = "/socket.io/?EIO=4&transport=polling&token=c4nary";
    assert_eq!(get(process.public, query).await.0, 400);
    let path = "/socket.io/?EIO=4&transport=polling&sid=c4nary";
    assert_eq!(get(process.public, path).await.0, 400);
    let mut wire = Wire::open(process.public)
        .await
        .upgraded(process.public)
        .await;
    wire.text("42[\"c4nary\",").await;
    wire.text("40{\"token\":\"c4nary").await;
    until_online(database, "ann").await;
    let socket = ann.sid.clone();
    ann.leave().await;
    let path = "/presence/ann/online";
    soon(
        "ann is offline",
        database.until(|base| base.value(path) == false),
    )
    .await;
    Canaries {
        socket,
        token: mine,
        message,
    }
}

#[cfg(not(feature = "sabotage"))]
#[tokio::test]
async fn only_a_test_build_can_leave_out_a_protection() {
    let process = Process::start(&["dev"], &[("SABOTAGE", "gravity")]).await;
    assert!(!process.printed().contains("gravity"));
}
