use super::super::query::compare_keys;
use super::{Site, answer, refusal};
use axum::http::Method;
use serde_json::{Value, json};
use std::cmp::Ordering;

const RULES: &str = r#"{ "rules": { "scores": { ".indexOn": [".value", "deep/n"] },
    "presence": { ".indexOn": "online" } } }"#;

async fn site() -> Site {
    let site = Site::with_rules(RULES).await;
    let people = json!({
        "ann": { "online": true, "n": 2 },
        "bob": { "online": false },
        "cid": { "online": true },
        "dan": { "other": 1 },
        "eve": { "online": "yes" },
    });
    assert!(site.standin.put("presence", &people));
    let scores =
        json!({ "a": 3, "b": 1, "c": 2, "d": "x", "e": true, "f": { "deep": { "n": 1 } } });
    assert!(site.standin.put("scores", &scores));
    site
}

/// The keys that a query finds, sorted by name; or the text of its refusal.
async fn found(site: &Site, path: &str, query: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let request = site.owner(Method::GET, path).query(query);
    let (status, body) = answer(request).await;
    match (status.as_u16(), &body) {
        (200, Value::Object(children)) => Ok(children.keys().cloned().collect()),
        (200, _) => Ok(Vec::new()),
        _ => Err(body["error"].as_str().unwrap().to_owned()),
    }
}

#[tokio::test]
async fn who_is_online_is_an_indexed_question() {
    let site = site().await;
    let query = [("orderBy", "\"online\""), ("equalTo", "true")];
    assert_eq!(
        found(&site, "/presence.json", &query).await.unwrap(),
        ["ann", "cid"]
    );
    let query = [("orderBy", "\"online\""), ("equalTo", "null")];
    assert_eq!(
        found(&site, "/presence.json", &query).await.unwrap(),
        ["dan"]
    );
}

#[tokio::test]
async fn a_missing_index_is_named() {
    let site = site().await;
    let query = [("orderBy", "\"state\""), ("equalTo", "\"online\"")];
    let expected =
        r#"Index not defined, add ".indexOn": "state", for path "/presence", to the rules"#;
    assert_eq!(
        found(&site, "/presence.json", &query).await.unwrap_err(),
        expected
    );
    let query = [("orderBy", "\"$value\"")];
    let expected =
        r#"Index not defined, add ".indexOn": ".value", for path "/presence", to the rules"#;
    assert_eq!(
        found(&site, "/presence.json", &query).await.unwrap_err(),
        expected
    );
}

#[tokio::test]
async fn keys_need_no_index() {
    let site = site().await;
    let ask = async |query: &[(&str, &str)]| {
        let by_key = [&[("orderBy", "\"$key\"")], query].concat();
        found(&site, "/presence.json", &by_key).await.unwrap()
    };
    assert_eq!(ask(&[("startAt", "\"cid\"")]).await, ["cid", "dan", "eve"]);
    assert_eq!(ask(&[("startAfter", "\"cid\"")]).await, ["dan", "eve"]);
    assert_eq!(ask(&[("endAt", "\"bob\"")]).await, ["ann", "bob"]);
    assert_eq!(ask(&[("endBefore", "\"bob\"")]).await, ["ann"]);
    assert_eq!(ask(&[("limitToFirst", "2")]).await, ["ann", "bob"]);
    assert_eq!(ask(&[("limitToLast", "2")]).await, ["dan", "eve"]);
    assert_eq!(ask(&[("equalTo", "\"eve\"")]).await, ["eve"]);
}

#[tokio::test]
async fn values_sort_by_kind_then_by_size() {
    let site = site().await;
    let ask = async |query: &[(&str, &str)]| {
        let by_value = [&[("orderBy", "\"$value\"")], query].concat();
        found(&site, "/scores.json", &by_value).await.unwrap()
    };
    assert_eq!(ask(&[("limitToFirst", "1")]).await, ["e"]);
    assert_eq!(ask(&[("startAt", "2"), ("endAt", "3")]).await, ["a", "c"]);
    assert_eq!(ask(&[("limitToLast", "2")]).await, ["d", "f"]);
    let deep = [("orderBy", "\"deep/n\""), ("equalTo", "1")];
    assert_eq!(found(&site, "/scores.json", &deep).await.unwrap(), ["f"]);
}

#[tokio::test]
async fn shallow_shows_keys_and_cannot_be_mixed() {
    let site = site().await;
    let shallow = [("shallow", "true")];
    let (_, body) = answer(site.owner(Method::GET, "/.json").query(&shallow)).await;
    assert_eq!(body, json!({ "presence": true, "scores": true }));
    let (_, body) = answer(site.owner(Method::GET, "/scores/a.json").query(&shallow)).await;
    assert_eq!(body, json!(3));
    let mixed = [("shallow", "true"), ("orderBy", "\"$key\"")];
    assert_eq!(
        refusal(site.owner(Method::GET, "/.json").query(&mixed))
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn malformed_queries_are_refused() {
    let site = site().await;
    for query in [
        &[("orderBy", "online")][..],
        &[("orderBy", "\"\"")],
        &[("orderBy", "\"a.b\"")],
        &[("equalTo", "1")],
        &[("limitToFirst", "1")],
        &[("orderBy", "\"$key\""), ("limitToFirst", "0")],
        &[
            ("orderBy", "\"$key\""),
            ("limitToFirst", "1"),
            ("limitToLast", "1"),
        ],
        &[
            ("orderBy", "\"$key\""),
            ("equalTo", "\"a\""),
            ("startAt", "\"a\""),
        ],
        &[
            ("orderBy", "\"$key\""),
            ("startAt", "\"a\""),
            ("startAfter", "\"a\""),
        ],
        &[("orderBy", "\"$key\""), ("startAt", "{}")],
        &[("orderBy", "\"$key\""), ("startAt", "1")],
        &[("shallow", "maybe")],
    ] {
        let refused = refusal(site.owner(Method::GET, "/scores.json").query(query)).await;
        assert_eq!(refused.0, 400, "{query:?}");
    }
}

#[test]
fn integer_keys_come_first_and_by_number() {
    let mut keys = ["b", "10", "-1", "2", "01", "1", "a", "99999999999"];
    keys.sort_by(|a, b| compare_keys(a, b));
    assert_eq!(keys, ["-1", "1", "01", "2", "10", "99999999999", "a", "b"]);
    assert_eq!(compare_keys("1", "1"), Ordering::Equal);
}
