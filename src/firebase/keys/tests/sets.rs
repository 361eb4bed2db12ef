//! What counts as a key set, and for how long.

use super::*;

/// The time for which a set is young that came with these headers.
async fn ttl_of(headers: &[(&'static str, &str)]) -> Duration {
    let answer = Answer::json(key_set(&[&keys()[0]]).to_string());
    let answer = headers
        .iter()
        .fold(answer, |answer, (name, value)| answer.with(name, *value));
    let bench = Bench::new([answer]).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    bench.window().unwrap().ttl
}

#[tokio::test]
async fn a_set_is_young_for_max_age_less_age_within_bounds() {
    let google = "public, max-age=19302, must-revalidate, no-transform";
    let table: [(&[(&'static str, &str)], u64); 12] = [
        (&[("cache-control", google)], 19_302),
        (&[("cache-control", google), ("age", "9302")], 10_000),
        (&[("cache-control", google), ("age", "99999")], 300),
        (&[("cache-control", google), ("age", "soon")], 19_302),
        (&[("cache-control", "Max-Age=\"1000\"")], 1_000),
        (&[("cache-control", "s-maxage=9999, max-age=1000")], 1_000),
        (&[("cache-control", "max-age=0")], 300),
        (&[("cache-control", "max-age=-1")], 300),
        (&[("cache-control", "max-age=1000000000000")], 86_400),
        (
            &[("cache-control", "max-age=99999999999999999999999")],
            86_400,
        ),
        (&[("cache-control", "no-store")], 300),
        (&[], 300),
    ];
    for (headers, seconds) in table {
        let ttl = ttl_of(headers).await;
        assert_eq!(ttl, Duration::from_secs(seconds), "{headers:?}");
    }
}

#[tokio::test]
async fn a_broken_or_empty_answer_never_replaces_good_keys() {
    let elsewhere = FakeServer::start([both_for(HOUR)]).await;
    let moved = Answer::reply(302, "").with("location", elsewhere.url("/keys"));
    let table = [
        (Answer::reply(500, "oops"), RequestOutcome::NotSent),
        (Answer::reply(503, "oops"), RequestOutcome::Busy),
        (Answer::reply(404, "gone"), RequestOutcome::Denied),
        (Answer::reply(204, ""), RequestOutcome::Denied),
        (moved, RequestOutcome::Denied),
        (Answer::json("<html>"), RequestOutcome::BadData),
        (Answer::json(""), RequestOutcome::BadData),
        (Answer::json("[]"), RequestOutcome::BadData),
        (Answer::json(r#"{"keys":[]}"#), RequestOutcome::BadData),
        (Answer::json(r#"{"keys":{}}"#), RequestOutcome::BadData),
        (
            Answer::json(r#"{"keys":[{"kid":"kid1"}]}"#),
            RequestOutcome::BadData,
        ),
        (
            Answer::json(r#"{"error":{"code":500}}"#),
            RequestOutcome::BadData,
        ),
        (
            Answer::json(" ".repeat(10 << 20) + &key_set(&[&keys()[0]]).to_string()),
            RequestOutcome::BadData,
        ),
    ];
    for (answer, outcome) in table {
        let bench = Bench::new([one_for(HOUR), answer]).await;
        assert_eq!(bench.lists("kid1").await, Ok(true));
        skip(HOUR).await;
        assert_eq!(bench.lists("kid1").await, Ok(true));
        bench.has_fetched(outcome, 1).await;
        assert_eq!(bench.lists("kid1").await, Ok(true));
        assert_eq!(bench.keys.state(), KeysState::Stale);
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn the_content_type_of_a_set_does_not_matter() {
    let answer = one_for(HOUR).with("content-type", "text/html");
    assert_eq!(Bench::new([answer]).await.lists("kid1").await, Ok(true));
}

#[tokio::test]
async fn entries_that_are_no_rs256_keys_are_passed_over() {
    let [one, two] = keys();
    let but = |name: &str, value: serde_json::Value| {
        let mut key = two.jwk();
        key[name] = value;
        key
    };
    for other in [
        but("kty", json!("EC")),
        but("kty", json!("oct")),
        but("alg", json!("HS256")),
        but("alg", json!(7)),
        but("use", json!("enc")),
        but("kid", json!("")),
        but("kid", json!(7)),
        but("kid", json!("k".repeat(129))),
        but("n", json!("not base64!")),
        but("e", json!(65537)),
        json!("kid2"),
        json!(null),
    ] {
        let set = json!({ "keys": [other, one.jwk()] });
        let bench = Bench::new([Answer::json(set.to_string())]).await;
        assert_eq!(bench.lists("kid1").await, Ok(true), "{other}");
        assert_eq!(bench.lists("kid2").await, Ok(false), "{other}");
    }
}

#[tokio::test]
async fn a_key_needs_neither_alg_nor_use() {
    let mut key = keys()[0].jwk();
    key.as_object_mut()
        .unwrap()
        .retain(|name, _| name != "alg" && name != "use");
    let bench = Bench::new([Answer::json(json!({ "keys": [key] }).to_string())]).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
}
