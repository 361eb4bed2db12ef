use super::super::{CredentialKind, Fault, Target, Verdict};
use super::{NOW, Site, answer, refusal, soon};
use crate::domain::time::UnixMillis;
use axum::http::Method;
use reqwest::StatusCode;
use serde_json::{Value, json};

const OK: StatusCode = StatusCode::OK;

#[tokio::test]
async fn the_owner_writes_and_reads_back() {
    let site = Site::open().await;
    let ann = json!({ "online": true, "lastSeen": { ".sv": "timestamp" } });
    let stored = json!({ "online": true, "lastSeen": NOW.0 });
    let put = site.owner(Method::PUT, "/presence/ann.json").json(&ann);
    assert_eq!(answer(put).await, (OK, stored.clone()));
    let get = site.owner(Method::GET, "/presence.json");
    assert_eq!(answer(get).await, (OK, json!({ "ann": stored })));
    let delete = site.owner(Method::DELETE, "/presence/ann.json");
    assert_eq!(answer(delete).await, (OK, Value::Null));
    assert_eq!(site.standin.value("/"), Value::Null);
}

#[tokio::test]
async fn a_silent_patch_has_no_body_and_counts_its_records() {
    let site = Site::open().await;
    let body = json!({ "ann/online": true, "bob/online": false });
    let patch = site
        .owner(Method::PATCH, "/presence.json?print=silent")
        .json(&body);
    let response = patch.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(response.bytes().await.unwrap().is_empty());

    let entry = site.standin.history().pop().unwrap();
    assert_eq!(entry.sequence, 1);
    assert_eq!(entry.method, Method::PATCH);
    assert_eq!(entry.path, "/presence");
    assert_eq!(entry.body, Some(body));
    assert_eq!(entry.credential, CredentialKind::Admin);
    assert_eq!(entry.verdict, Verdict::Committed { records: 2 });
    let counters = site.standin.counters();
    assert_eq!((counters.writes, counters.records), (1, 2));
}

#[tokio::test]
async fn namespaces_know_nothing_of_each_other() {
    let site = Site::open().await;
    let put = site.owner(Method::PUT, "/a.json?ns=other").json(&1);
    assert_eq!(answer(put).await, (OK, json!(1)));
    let get = |ns: &str| answer(site.owner(Method::GET, &format!("/a.json?ns={ns}")));
    assert_eq!(get("other").await, (OK, json!(1)));
    assert_eq!(get("demo-test-default-rtdb").await, (OK, Value::Null));
    let bad = site.owner(Method::GET, "/a.json?ns=a.b");
    assert_eq!(refusal(bad).await.0, 403);
}

#[tokio::test]
async fn post_gives_names_that_sort_in_the_order_of_their_making() {
    let site = Site::open().await;
    let mut names = Vec::new();
    for n in 0..5 {
        let post = site.owner(Method::POST, "/list.json").json(&n);
        let (status, body) = answer(post).await;
        assert_eq!(status, OK);
        names.push(body["name"].as_str().unwrap().to_owned());
    }
    assert!(names.is_sorted());
    assert!(names.iter().all(|name| name.len() == 20));
    assert_eq!(site.standin.value("/list").as_object().unwrap().len(), 5);
}

#[tokio::test]
async fn a_post_can_be_any_other_method() {
    let site = Site::open().await;
    let post = site
        .owner(Method::POST, "/a.json")
        .header("X-HTTP-Method-Override", "PATCH")
        .json(&json!({ "b": 1 }));
    assert_eq!(answer(post).await, (OK, json!({ "b": 1 })));
    assert_eq!(site.standin.value("/a"), json!({ "b": 1 }));
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let site = Site::open().await;
    let put = |path: &str, body: &str| refusal(site.owner(Method::PUT, path).body(body.to_owned()));
    let no_json = "Invalid data; couldn't parse JSON object, array, or value.".to_owned();
    assert_eq!(put("/a.json", "{").await, (400, no_json));
    let no_data = "Error: No data supplied.".to_owned();
    assert_eq!(put("/a.json", "").await, (400, no_data));
    let bad_path = "Invalid path: Invalid token in path".to_owned();
    assert_eq!(put("/a%2Fb.json", "1").await, (400, bad_path.clone()));
    assert_eq!(put("/a$.json", "1").await, (400, bad_path));
    assert_eq!(put("/a.json", r#"{"b.c":1}"#).await.0, 400);
    assert_eq!(put("/a.json", r#"{"a":{".sv":"x"}}"#).await.0, 400);
    assert_eq!(put("/a.json?print=loud", "1").await.0, 400);
    assert_eq!(put("/a", "1").await.0, 404);
    let patch = site.owner(Method::PATCH, "/a.json").json(&json!([1]));
    assert_eq!(refusal(patch).await.0, 400);
    let timeout = site.owner(Method::GET, "/a.json?timeout=16min");
    assert_eq!(refusal(timeout).await.0, 400);
    let timeout = site.owner(Method::GET, "/a.json?timeout=3s");
    assert_eq!(answer(timeout).await, (OK, Value::Null));
    assert_eq!(site.standin.value("/"), Value::Null);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let site = Site::open().await;
    let text = "x".repeat(16 * 1024 * 1024);
    let put = site.owner(Method::PUT, "/a.json").json(&text);
    // The answer may come before the body is read to its end: then the connection breaks.
    if let Ok(response) = put.send().await {
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert_eq!(site.standin.value("/"), Value::Null);
}

#[tokio::test]
async fn only_known_bearers_are_administrators() {
    let site = Site::open().await;
    let read = |token: &str| refusal(site.anybody(Method::GET, "/a.json").bearer_auth(token));
    let refused = (401, "Unauthorized request.".to_owned());
    assert_eq!(read("owner").await.0, 200);
    assert_eq!(read("ya29.test").await, refused);
    site.standin.accept_admin_token("ya29.test");
    assert_eq!(read("ya29.test").await.0, 200);
    site.standin.refuse_admin_token("ya29.test");
    assert_eq!(read("ya29.test").await, refused);
    let id_token = site.accounts.id_token("ann").unwrap();
    assert_eq!(read(&id_token).await, refused);
    let basic = site
        .anybody(Method::GET, "/a.json")
        .basic_auth("owner", Some("x"));
    assert_eq!(refusal(basic).await, refused);
}

#[tokio::test]
async fn id_tokens_are_checked() {
    let site = Site::open().await;
    let read = |token: &str| {
        refusal(
            site.anybody(Method::GET, "/presence/bob.json")
                .query(&[("auth", token)]),
        )
    };
    let unparsable = (401, "Could not parse auth token.".to_owned());
    let good = site.accounts.id_token("ann").unwrap();
    assert_eq!(read(&good).await.0, 200);
    assert_eq!(read("ann").await, unparsable);
    assert_eq!(read("").await, unparsable);
    assert_eq!(read(&format!("{good}c2lnbmVk")).await, unparsable);
    let other = super::AccountsStandIn::new("demo-other", site.clock.clone());
    assert_eq!(read(&other.id_token("ann").unwrap()).await, unparsable);
    site.clock.set_unix(UnixMillis(NOW.0 + 3_600_000));
    assert_eq!(read(&good).await, (401, "Auth token is expired".to_owned()));
    let history = site.standin.history();
    assert!(history.iter().all(|entry| entry.query.is_empty()));
    assert_eq!(history[0].credential, CredentialKind::User);
    assert_eq!(history[1].credential, CredentialKind::Bad);
}

#[tokio::test]
async fn conditional_writes_compare_etags() {
    let site = Site::open().await;
    let get = site
        .owner(Method::GET, "/a.json")
        .header("X-Firebase-ETag", "true");
    let response = get.send().await.unwrap();
    assert_eq!(response.headers()["etag"], "null_etag");

    let put = |etag: &str, body: i32| {
        site.owner(Method::PUT, "/a.json")
            .header("if-match", etag)
            .header("X-Firebase-ETag", "true")
            .json(&body)
            .send()
    };
    let response = put("null_etag", 1).await.unwrap();
    assert_eq!(response.status(), OK);
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();

    let response = put("null_etag", 2).await.unwrap();
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(response.headers()["etag"], etag.as_str());
    assert_eq!(response.json::<Value>().await.unwrap(), json!(1));

    let unchanged = site
        .owner(Method::GET, "/a.json")
        .header("if-none-match", &etag);
    let response = unchanged.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(put(&etag, 3).await.unwrap().status(), OK);
    assert_eq!(site.standin.value("/a"), json!(3));
}

#[tokio::test]
async fn conditions_are_for_plain_puts_and_deletes() {
    let site = Site::open().await;
    for (method, path) in [
        (Method::GET, "/a.json"),
        (Method::PATCH, "/a.json"),
        (Method::POST, "/a.json"),
        (Method::PUT, "/a.json?print=silent"),
        (Method::PUT, "/a.json?shallow=true"),
    ] {
        let request = site
            .owner(method.clone(), path)
            .header("if-match", "null_etag");
        let request = if method == Method::GET {
            request
        } else {
            request.json(&json!({}))
        };
        assert_eq!(refusal(request).await.0, 400, "{method} {path}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_kept_out() {
    let site = Site::open().await;
    let get =
        |name: &str, value: &str| answer(site.owner(Method::GET, "/a.json").header(name, value));
    assert_eq!(
        get("origin", "https://example.com").await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(get("host", "example.com").await.0, StatusCode::FORBIDDEN);
    assert_eq!(get("origin", "http://localhost:3000").await.0, OK);
}

#[tokio::test]
async fn a_listener_beyond_loopback_is_refused() {
    let site = Site::open().await;
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let served = soon(super::super::serve(
        listener,
        site.standin.clone(),
        shutdown,
    ))
    .await;
    assert!(served.is_err());
}

#[tokio::test]
async fn connections_are_kept_alive_and_counted() {
    let site = Site::open().await;
    for _ in 0..5 {
        answer(site.owner(Method::GET, "/a.json")).await;
    }
    let counters = site.standin.counters();
    assert_eq!((counters.requests, counters.connections_opened), (5, 1));
    assert!(
        site.standin
            .history()
            .iter()
            .all(|entry| entry.connection == 1)
    );
}

#[tokio::test]
async fn an_injected_status_is_spent() {
    let site = Site::open().await;
    let target = Target::method(Method::PUT).under("/presence");
    site.standin
        .inject(target, 1, Fault::Status(500, "{}".to_owned()));
    let busy = Fault::Busy {
        status: 503,
        retry_after_s: 7,
    };
    site.standin.inject(Target::any(), 1, busy);
    let put = || site.owner(Method::PUT, "/presence/a.json").json(&1);
    assert_eq!(answer(put()).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let response = put().send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(site.standin.value("/"), Value::Null);
    assert_eq!(answer(put()).await.0, OK);
    assert_eq!(site.standin.counters().lost, 2);
}

#[tokio::test]
async fn the_history_remembers_the_last_requests_within_its_bounds() {
    let site = Site::open().await;
    let text = "x".repeat(60 * 1024);
    for n in 0..300 {
        let put = site.owner(Method::PUT, &format!("/{n}.json")).json(&text);
        assert_eq!(answer(put).await.0, OK);
    }
    let long = "x".repeat(80 * 1024);
    answer(site.owner(Method::PUT, "/long.json").json(&long)).await;
    let history = site.standin.history();
    assert!(history.len() < 300, "{}", history.len());
    assert_eq!(history.last().unwrap().sequence, 301);
    assert_eq!(history.last().unwrap().body, None);
    assert!(
        history
            .windows(2)
            .all(|pair| pair[0].sequence + 1 == pair[1].sequence)
    );
}
