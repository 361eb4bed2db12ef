//! A bridge as in production: signed tokens, Google's keys over HTTP, a key file, access tokens.

use crate::google::{Google, KEYS_YOUNG_S, KeyFile};
use crate::mint;
use crate::phone::{Phone, soon};
use crate::world::{PROJECT, claims, get, production, skip, start};
use presence_bridge::app::Running;
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{
    self, CredentialKind, DEFAULT_RULES, DatabaseStandIn, Fault, Target, Verdict,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Everything a production bridge talks to, on loopback.
struct Site {
    google: Google,
    database: DatabaseStandIn,
    database_at: SocketAddr,
    /// Dropped: the database is gone.
    serving: Option<DropGuard>,
    bridge: Running,
    clock: Clock,
    _key_file: KeyFile,
}

impl Site {
    async fn open() -> Self {
        Self::prepared(|_| {}, &[]).await
    }

    /// `prepare` comes before the bridge.
    async fn prepared(prepare: impl FnOnce(&Google), settings: &[(&str, &str)]) -> Self {
        let clock = Clock::system();
        let database = DatabaseStandIn::new(PROJECT, DEFAULT_RULES, clock.clone()).unwrap();
        let google = Google::open(&database).await;
        prepare(&google);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let database_at = listener.local_addr().unwrap();
        let key_file = google.key_file();
        let (keys_url, database_url) = (google.keys_url(), format!("http://{database_at}/"));
        let mut all = vec![
            ("AUTH_KEYS_URL", keys_url.as_str()),
            ("FIREBASE_DATABASE_URL", &database_url),
            ("GOOGLE_APPLICATION_CREDENTIALS", key_file.path()),
            ("PRESENCE_FLUSH_INTERVAL", "20ms"),
            ("PRESENCE_HEARTBEAT_INTERVAL", "1s"),
            ("FIREBASE_DATABASE_TIMEOUT", "2s"),
        ];
        all.extend(settings);
        let serving = serve(listener, &database);
        let bridge = start(&production(&all), clock.clone());
        Self {
            google,
            database,
            database_at,
            serving: Some(serving),
            bridge,
            clock,
            _key_file: key_file,
        }
    }

    fn token(&self, user: &str) -> String {
        mint::keys()[0].mint(&claims(user, &self.clock))
    }

    async fn connect(&self, user: &str) -> Phone {
        Phone::connect(self.bridge.public, &self.token(user))
            .await
            .unwrap()
    }

    /// Until `/readyz` answers so.
    async fn until_ready(&self, status: u16, report: Value) {
        let mut last = (0, Value::Null);
        let answered = tokio::time::timeout(crate::phone::DEADLINE, async {
            loop {
                last = readiness(self.bridge.public).await;
                if last == (status, report.clone()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(answered.await.is_ok(), "{last:?} instead of {report}");
    }

    async fn until_online(&self, user: &str, online: bool) {
        let path = format!("/presence/{user}/online");
        let said = |db: &DatabaseStandIn| db.value(&path) == Value::Bool(online);
        soon(
            &format!("{user} online: {online}"),
            self.database.until(said),
        )
        .await;
    }
}

fn serve(listener: TcpListener, database: &DatabaseStandIn) -> DropGuard {
    let stop = CancellationToken::new();
    tokio::spawn(database::serve(listener, database.clone(), stop.clone()));
    stop.drop_guard()
}

async fn readiness(address: SocketAddr) -> (u16, Value) {
    let (status, body) = get(address, "/readyz").await;
    (status, serde_json::from_str(&body).unwrap())
}

fn ready() -> Value {
    json!({ "status": "ready", "reasons": [] })
}

fn degraded(reason: &str) -> Value {
    json!({ "status": "degraded", "reasons": [reason] })
}

#[tokio::test]
async fn signed_tokens_connect_and_the_record_is_written_with_an_access_token() {
    let site = Site::open().await;
    site.until_ready(200, ready()).await;
    let _ann = site.connect("ann").await;
    site.until_online("ann", true).await;
    assert_eq!(site.google.issued(), 1, "one access token for everything");
    let history = site.database.history();
    assert!(
        history
            .iter()
            .all(|entry| entry.credential == CredentialKind::Admin),
        "{history:?}"
    );
    // It is this token, and no other credential, that opens the database.
    site.google.revoke(1);
    let _ben = site.connect("ben").await;
    site.until_online("ben", true).await;
    assert_eq!(site.google.issued(), 2);
    let refused = |entry: &database::Entry| entry.verdict == Verdict::Refused(401);
    assert!(site.database.history().iter().any(refused));
}

#[tokio::test]
async fn forged_foreign_and_expired_tokens_are_refused_and_the_keys_are_asked_for_once_more_at_most()
 {
    let site = Site::open().await;
    site.until_ready(200, ready()).await;
    let [good, unlisted] = mint::keys();
    let now_s = site.clock.unix().0 / 1000;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims("ann", &site.clock);
        change(&mut claims);
        claims
    };
    let expired = with(&|claims| {
        claims["iat"] = json!(now_s - 7200);
        claims["auth_time"] = json!(now_s - 7200);
        claims["exp"] = json!(now_s - 3600);
    });
    let header = json!({ "alg": "RS256", "kid": good.id, "typ": "JWT" }).to_string();
    let signed = good.mint(&claims("ann", &site.clock));
    let (head, signature) = (
        signed.split('.').next().unwrap(),
        signed.rsplit('.').next().unwrap(),
    );
    let other_payload = mint::segment(&claims("ben", &site.clock).to_string());
    let none = json!({ "alg": "none", "kid": good.id }).to_string();
    for (forgery, token, code) in [
        (
            "unsigned",
            mint::unsigned(&claims("ann", &site.clock)),
            "unauthorized",
        ),
        (
            "alg none, but signed",
            good.sign(&none, &claims("ann", &site.clock).to_string()),
            "unauthorized",
        ),
        (
            "another project's",
            good.mint(&mint::claims("demo-other", "ann", now_s)),
            "unauthorized",
        ),
        (
            "another project's audience",
            good.mint(&with(&|claims| claims["aud"] = json!("demo-other"))),
            "unauthorized",
        ),
        (
            "of nobody",
            good.mint(&with(&|claims| claims["sub"] = json!(""))),
            "unauthorized",
        ),
        ("expired", good.mint(&expired), "token_expired"),
        (
            "expired of another project",
            good.mint(&{
                let mut claims = expired.clone();
                claims["aud"] = json!("demo-other");
                claims
            }),
            "unauthorized",
        ),
        (
            "unlisted key",
            unlisted.mint(&claims("ann", &site.clock)),
            "unauthorized",
        ),
        (
            "wrong key behind a listed id",
            unlisted.sign(&header, &claims("ann", &site.clock).to_string()),
            "unauthorized",
        ),
        (
            "changed payload",
            format!("{head}.{other_payload}.{signature}"),
            "unauthorized",
        ),
    ] {
        let auth = json!({ "token": token });
        let refused = Phone::handshake(site.bridge.public, auth).await.err();
        assert_eq!(refused.as_deref(), Some(code), "{forgery}");
    }
    assert!(
        site.google.keys_asked() <= 2,
        "{}",
        site.google.keys_asked()
    );
    assert_eq!(site.database.value("/presence"), Value::Null);
    site.connect("ann").await;
}

#[tokio::test]
async fn without_keys_the_bridge_is_not_ready_and_with_them_it_is() {
    let site = Site::prepared(|google| google.has_keys(false), &[]).await;
    let missing = json!({ "status": "not_ready", "reasons": ["google_keys_not_obtained"] });
    site.until_ready(503, missing).await;
    assert_eq!(get(site.bridge.public, "/healthz").await.0, 200, "it lives");
    let auth = json!({ "token": site.token("ann") });
    let refused = Phone::handshake(site.bridge.public, auth).await.err();
    assert_eq!(
        refused.as_deref(),
        Some("unavailable"),
        "not the token's fault"
    );
    site.google.has_keys(true);
    site.until_ready(200, ready()).await;
    site.connect("ann").await;
}

#[tokio::test]
async fn a_key_server_lost_later_is_worth_a_word_and_nobody_notices() {
    let site = Site::open().await;
    site.until_ready(200, ready()).await;
    site.google.has_keys(false);
    let mut ann = site.connect("ann").await;
    skip(Duration::from_secs(KEYS_YOUNG_S + 1)).await;
    site.until_ready(200, degraded("google_keys_stale")).await;
    ann.join("x").await;
    let mut ben = site.connect("ben").await;
    ben.join("x").await;
    site.google.has_keys(true);
}

#[tokio::test]
async fn without_the_database_the_chat_goes_on_and_afterwards_it_says_the_truth() {
    let mut site = Site::prepared(|_| {}, &[("PRESENCE_GRACE", "50ms")]).await;
    site.until_ready(200, ready()).await;
    let mut ann = site.connect("ann").await;
    site.until_online("ann", true).await;
    site.serving = None;
    site.until_ready(200, degraded("database_unreachable"))
        .await;
    let mut ben = site.connect("ben").await;
    let cid = site.connect("cid").await;
    ann.join("x").await;
    ben.join("x").await;
    assert_eq!(
        ann.hear("presence").await,
        json!({ "userId": "ben", "online": true })
    );
    for n in 0..50 {
        let said = ann
            .ask("send_message", json!({ "chatId": "x", "message": n }))
            .await;
        assert_eq!(said["ok"], true, "{said}");
        assert_eq!(ben.hear("new_message").await["message"], n);
    }
    // Comes and goes while nobody can write it.
    cid.leave().await;
    ann.leave().await;
    assert_eq!(ben.hear("presence").await["online"], false);
    assert_eq!(
        site.database.value("/presence/ann/online"),
        true,
        "as it was"
    );
    let listener = TcpListener::bind(site.database_at).await.unwrap();
    site.serving = Some(serve(listener, &site.database));
    site.until_online("ann", false).await;
    site.until_online("ben", true).await;
    site.until_ready(200, ready()).await;
    assert_ne!(site.database.value("/presence/cid/online"), true);
}

#[tokio::test]
async fn a_draining_bridge_is_not_ready() {
    let site = Site::open().await;
    site.until_ready(200, ready()).await;
    let _ann = site.connect("ann").await;
    site.until_online("ann", true).await;
    // The last flush hangs, which leaves time to ask.
    let flush = Target::method(axum::http::Method::PATCH).under("/presence");
    site.database.inject(flush, 1, Fault::HangBeforeCommit);
    let admin = site.bridge.admin;
    let draining = tokio::spawn(site.bridge.drain());
    let expected = json!({ "status": "not_ready", "reasons": ["draining"] });
    soon("the drain to be told", async {
        while readiness(admin).await != (503, expected.clone()) {}
    })
    .await;
    soon("the drain", draining).await.unwrap();
    assert_eq!(site.database.value("/presence/ann/online"), false);
}

#[tokio::test]
async fn metrics_are_for_operators_only() {
    let site = Site::open().await;
    assert_eq!(get(site.bridge.public, "/metrics").await.0, 404);
    let (status, page) = get(site.bridge.admin, "/metrics").await;
    assert_eq!(status, 200);
    assert!(page.contains("bridge_connections 0"), "{page}");
    let polling = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(
        get(site.bridge.admin, polling).await.0,
        404,
        "no clients here"
    );
}
