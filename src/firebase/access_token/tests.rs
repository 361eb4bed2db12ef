//! Both sources against a fake of Google's side, over real HTTP.

use super::*;
use crate::firebase::fake::{Answer, FakeServer, Log, eventually, skip};
use crate::mint::keys;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};

fn grant(token: &str, expires_in: u64) -> Answer {
    Answer::json(
        json!({ "access_token": token, "expires_in": expires_in, "token_type": "Bearer" })
            .to_string(),
    )
}

struct Bench {
    tokens: AccessTokens,
    server: FakeServer,
    metrics: Arc<Metrics>,
}

impl Bench {
    async fn key_file(answers: impl IntoIterator<Item = Answer>) -> Self {
        let server = FakeServer::start(answers).await;
        let metrics = Arc::new(Metrics::new());
        let json = keys()[0].key_file(server.url("/token").as_str());
        let json = json.to_string().into();
        Self {
            tokens: AccessTokens::from_key_file(json, Clock::system(), Arc::clone(&metrics)),
            server,
            metrics,
        }
    }

    async fn metadata(answers: impl IntoIterator<Item = Answer>) -> Self {
        let server = FakeServer::start(answers).await;
        let metrics = Arc::new(Metrics::new());
        let (host, clock) = (&server.authority, Clock::system());
        let tokens = AccessTokens::from_metadata_server(host, clock, Arc::clone(&metrics));
        Self {
            tokens: tokens.unwrap(),
            server,
            metrics,
        }
    }

    async fn token(&self) -> Result<String, TokenError> {
        eventually(self.tokens.token()).await
    }

    fn fetches(&self, outcome: RequestOutcome) -> u64 {
        self.metrics
            .access_token_fetches
            .get_or_create(&outcome.into())
            .get()
    }

    /// Asks until the token is this one: a refresh ahead happens behind the caller's back.
    async fn becomes(&self, token: &str) {
        eventually(async {
            while self.token().await.as_deref() != Ok(token) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "to compare with what a source returns"
)]
fn ok(token: &str) -> Result<String, TokenError> {
    Ok(token.to_owned())
}

#[tokio::test]
async fn a_key_file_is_traded_for_a_token_with_both_scopes() {
    let bench = Bench::key_file([grant("t1", 3600)]).await;
    assert_eq!(bench.token().await, ok("t1"));
    assert_eq!(bench.token().await, ok("t1"));
    assert_eq!(bench.server.requests(), 1);
    assert_eq!(bench.fetches(RequestOutcome::Ok), 1);

    let form = bench.server.seen().remove(0).body;
    let form: Vec<(String, String)> = url::form_urlencoded::parse(form.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    // gcp_auth pads its base64url, which RFC 7515 does not.
    let assertion = form[1].1.replace('=', "");
    let payload = assertion.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    assert_eq!(claims["scope"], SCOPES.join(" "));
    assert_eq!(claims["aud"], bench.server.url("/token").as_str());
    assert_eq!(claims["iss"], "bridge@demo-test.iam.gserviceaccount.com");
}

#[tokio::test]
async fn the_metadata_server_is_asked_for_both_scopes() {
    let bench = Bench::metadata([grant("m1", 3600)]).await;
    assert_eq!(bench.token().await, ok("m1"));
    let request = bench.server.seen().remove(0);
    assert_eq!(request.headers["metadata-flavor"], "Google");
    let url = bench.server.url(&request.uri.to_string());
    assert_eq!(
        url.path(),
        "/computeMetadata/v1/instance/service-accounts/default/token"
    );
    let query: Vec<_> = url.query_pairs().into_owned().collect();
    assert_eq!(query, [("scopes".to_owned(), SCOPES.join(","))]);
}

#[tokio::test]
async fn a_hundred_callers_share_one_fetch() {
    for bench in [
        Bench::key_file([grant("t1", 3600)]).await,
        Bench::metadata([grant("t1", 3600)]).await,
    ] {
        let tokens = join_all((0..100).map(|_| bench.token())).await;
        assert!(tokens.iter().all(|token| *token == ok("t1")));
        assert_eq!(bench.server.requests(), 1);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_fetch_from_nobody() {
    let bench = Bench::metadata([Answer::Hang]).await;
    let mut leaving = Box::pin(bench.tokens.token());
    assert!(futures_util::poll!(&mut leaving).is_pending());
    bench.server.has_seen(1).await;
    drop(leaving);
    let mut waiting = Box::pin(bench.tokens.token());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    skip(METADATA_DEADLINE).await;
    assert_eq!(eventually(waiting).await, Err(TokenError));
    assert_eq!(bench.server.requests(), 1);
}

#[tokio::test]
async fn a_token_is_fetched_anew_five_minutes_before_its_end() {
    let bench = Bench::metadata([grant("t1", 3600), grant("t2", 3600)]).await;
    assert_eq!(bench.token().await, ok("t1"));
    skip(Duration::from_mins(54)).await;
    assert_eq!(bench.token().await, ok("t1"));
    assert_eq!(bench.server.requests(), 1);
    skip(Duration::from_mins(1)).await;
    assert_eq!(
        bench.token().await,
        ok("t1"),
        "nobody waits for the next one"
    );
    bench.becomes("t2").await;
    assert_eq!(bench.server.requests(), 2);
}

#[tokio::test]
async fn a_short_lived_token_is_fetched_anew_after_four_fifths() {
    for bench in [
        Bench::key_file([grant("t1", 300), grant("t2", 3600)]).await,
        Bench::metadata([grant("t1", 300), grant("t2", 3600)]).await,
    ] {
        assert_eq!(bench.token().await, ok("t1"));
        skip(Duration::from_mins(3)).await;
        assert_eq!(bench.token().await, ok("t1"));
        assert_eq!(bench.server.requests(), 1);
        skip(Duration::from_mins(1)).await;
        bench.becomes("t2").await;
        assert_eq!(bench.server.requests(), 2);
    }
}

#[tokio::test]
async fn an_ended_token_is_never_handed_out() {
    for age in [3595, 3600, 86_400] {
        let bench = Bench::metadata([grant("t1", 3600), Answer::reply(500, "")]).await;
        assert_eq!(bench.token().await, ok("t1"));
        skip(Duration::from_secs(age)).await;
        assert_eq!(bench.token().await, Err(TokenError), "{age}");
    }
}

#[tokio::test]
async fn no_log_line_holds_a_token_a_key_or_a_body() {
    let log = Log::capture();
    let refusal = Answer::reply(400, r#"{"error":"CANARY"}"#);
    for bench in [
        Bench::key_file([refusal.clone()]).await,
        Bench::metadata([refusal]).await,
        Bench::key_file([Answer::json(r#"{"access_token":"CANARY"}"#)]).await,
        Bench::metadata([Answer::json(r#"{"access_token":"CANARY"}"#)]).await,
    ] {
        assert_eq!(bench.token().await, Err(TokenError));
    }
    for bench in [
        Bench::key_file([grant("CANARY", 3600)]).await,
        Bench::metadata([grant("CANARY", 3600)]).await,
    ] {
        assert_eq!(bench.token().await, ok("CANARY"));
    }
    let text = log.text();
    assert!(text.contains("cannot fetch an access token"));
    assert!(
        !text.contains("CANARY") && !text.contains("PRIVATE KEY"),
        "{text}"
    );
}

#[tokio::test]
async fn a_failing_refresh_leaves_the_present_token_in_use() {
    let bench = Bench::metadata([grant("t1", 3600), Answer::reply(503, "")]).await;
    assert_eq!(bench.token().await, ok("t1"));
    skip(Duration::from_mins(56)).await;
    assert_eq!(bench.token().await, ok("t1"));
    bench.server.has_seen(2).await;
    assert_eq!(bench.token().await, ok("t1"));
}

#[tokio::test]
async fn a_500_and_then_a_token_is_a_token() {
    let bench = Bench::key_file([Answer::reply(500, "oops"), grant("t1", 3600)]).await;
    assert_eq!(bench.token().await, ok("t1"));
    assert_eq!(bench.server.requests(), 2);
}

#[tokio::test]
async fn after_a_failure_there_is_a_growing_pause() {
    let bench = Bench::metadata([Answer::reply(500, "oops")]).await;
    let mut requests = 0;
    for pause_s in [1, 2, 4, 5, 5, 5, 5] {
        assert_eq!(bench.token().await, Err(TokenError));
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(pause_s) / 2).await;
        for _ in 0..10 {
            assert_eq!(bench.token().await, Err(TokenError));
        }
        requests += 1;
        assert_eq!(bench.server.requests(), requests);
        tokio::time::advance(Duration::from_secs(pause_s) / 2).await;
        tokio::time::resume();
    }
    bench.server.answers([grant("t1", 3600)]);
    assert_eq!(bench.token().await, ok("t1"));
    assert_eq!(bench.fetches(RequestOutcome::NotSent), 7);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_on() {
    for (bench, deadline) in [
        (Bench::key_file([Answer::Hang]).await, KEY_FILE_DEADLINE),
        (Bench::metadata([Answer::Hang]).await, METADATA_DEADLINE),
    ] {
        let asking = tokio::spawn({
            let tokens = bench.tokens.clone();
            async move { tokens.token().await }
        });
        bench.server.has_seen(1).await;
        skip(deadline).await;
        assert_eq!(eventually(asking).await.unwrap(), Err(TokenError));
        assert_eq!(bench.fetches(RequestOutcome::NotSent), 1);
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_no_token() {
    let odd_ends = [
        "",
        "<html>",
        "[]",
        r#"{"access_token":"t1"}"#,
        r#"{"expires_in":3600}"#,
        r#"{"access_token":"t1","expires_in":0}"#,
        r#"{"access_token":"t1","expires_in":-5}"#,
        r#"{"access_token":"t1","expires_in":"soon"}"#,
        r#"{"access_token":"","expires_in":3600}"#,
        r#"{"access_token":"a\r\nb","expires_in":3600}"#,
        r#"{"access_token":7,"expires_in":3600}"#,
    ];
    for body in odd_ends {
        for bench in [
            Bench::key_file([Answer::json(body)]).await,
            Bench::metadata([Answer::json(body)]).await,
        ] {
            assert_eq!(bench.token().await, Err(TokenError), "{body}");
            assert_eq!(bench.fetches(RequestOutcome::BadData), 1, "{body}");
        }
    }
}

#[tokio::test]
async fn metadata_answers_are_bounded_and_never_redirect() {
    let spaces = " ".repeat(MAX_BODY_BYTES);
    let endless = Answer::json(spaces + r#"{"access_token":"t1","expires_in":3600}"#);
    let elsewhere = FakeServer::start([grant("t1", 3600)]).await;
    let redirect = Answer::reply(302, "").with("location", elsewhere.url("/token"));
    for (answer, outcome) in [
        (endless, RequestOutcome::BadData),
        (redirect, RequestOutcome::Denied),
    ] {
        let bench = Bench::metadata([answer]).await;
        assert_eq!(bench.token().await, Err(TokenError));
        assert_eq!(bench.fetches(outcome), 1);
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn a_refused_token_is_replaced_by_exactly_one_fetch() {
    for bench in [
        Bench::key_file([grant("t1", 3600), grant("t2", 3600)]).await,
        Bench::metadata([grant("t1", 3600), grant("t2", 3600)]).await,
    ] {
        assert_eq!(bench.token().await, ok("t1"));
        bench.tokens.invalidate("t1");
        bench.tokens.invalidate("t1");
        let tokens = join_all((0..20).map(|_| bench.token())).await;
        assert!(tokens.iter().all(|token| *token == ok("t2")));
        // Late news of the old token does not touch the new one.
        bench.tokens.invalidate("t1");
        assert_eq!(bench.token().await, ok("t2"));
        assert_eq!(bench.server.requests(), 2);
    }
}

#[tokio::test]
async fn a_database_that_refuses_everything_causes_one_fetch_a_second() {
    let bench = Bench::metadata([grant("same", 3600)]).await;
    assert_eq!(bench.token().await, ok("same"));
    bench.tokens.invalidate("same");
    assert_eq!(bench.token().await, ok("same"));
    tokio::time::pause();
    for _ in 0..20 {
        bench.tokens.invalidate("same");
        assert_eq!(bench.token().await, Err(TokenError));
    }
    assert_eq!(bench.server.requests(), 2);
    tokio::time::advance(FAILURE_PAUSE).await;
    tokio::time::resume();
    assert_eq!(bench.token().await, ok("same"));
    assert_eq!(bench.server.requests(), 3);
}

#[tokio::test]
async fn no_token_is_in_debug_output() {
    let bench = Bench::key_file([grant("SECRET-TOKEN", 3600)]).await;
    bench.token().await.unwrap();
    let text = format!("{:?}", bench.tokens);
    assert!(
        !text.contains("PRIVATE KEY") && !text.contains("SECRET"),
        "{text}"
    );
}

#[test]
fn a_metadata_host_is_a_host_and_perhaps_a_port() {
    for host in [
        METADATA_HOST,
        "169.254.169.254",
        "127.0.0.1:8080",
        "[::1]:8080",
    ] {
        assert!(metadata_url(host).is_some(), "{host}");
    }
    for host in ["", "a/b", "user@host", "host?x", "host:port", "a b"] {
        assert!(metadata_url(host).is_none(), "{host}");
    }
}
