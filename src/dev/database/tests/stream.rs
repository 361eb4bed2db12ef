use super::{NOW, SOON, Site, soon};
use crate::dev::demo_token::LIFETIME_S;
use axum::http::Method;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

/// The reading end of a stream: events as name and data.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn open(request: RequestBuilder) -> Self {
        let request = request.header("accept", "text/event-stream").timeout(SOON);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event; none when the stream has ended or broken.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (name, data) = event.split_once('\n').unwrap();
                let name = name.strip_prefix("event: ").unwrap().to_owned();
                let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                self.text = rest.to_owned();
                return Some((name, data));
            }
            let chunk = soon(self.response.chunk()).await.ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn expect(&mut self, name: &str, path: &str, data: Value) {
        let expected = (name.to_owned(), json!({ "path": path, "data": data }));
        assert_eq!(self.next().await, Some(expected));
    }
}

async fn follow(site: &Site, path: &str) -> Events {
    Events::open(site.owner(Method::GET, path)).await
}

async fn send(site: &Site, method: Method, path: &str, body: Value) {
    let response = site.owner(method, path).json(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_reader_gets_what_there_is_and_then_what_comes() {
    let site = Site::open().await;
    assert!(site.standin.put("presence/ann/online", &json!(true)));
    let mut events = follow(&site, "/presence.json").await;
    events
        .expect("put", "/", json!({ "ann": { "online": true } }))
        .await;
    send(
        &site,
        Method::PUT,
        "/presence/ann/online.json",
        json!(false),
    )
    .await;
    events.expect("put", "/ann/online", json!(false)).await;
    send(
        &site,
        Method::PATCH,
        "/presence.json",
        json!({ "ann/n": 1, "bob": null }),
    )
    .await;
    events
        .expect("patch", "/", json!({ "ann/n": 1, "bob": null }))
        .await;
    send(
        &site,
        Method::PATCH,
        "/presence/ann.json",
        json!({ "n": [2, 3] }),
    )
    .await;
    events.expect("patch", "/ann", json!({ "n": [2, 3] })).await;
    send(&site, Method::PUT, "/other.json", json!(1)).await;
    send(&site, Method::DELETE, "/presence.json", Value::Null).await;
    events.expect("put", "/", Value::Null).await;
}

#[tokio::test]
async fn a_write_further_up_shows_its_part() {
    let site = Site::open().await;
    let mut events = follow(&site, "/presence/ann.json").await;
    events.expect("put", "/", Value::Null).await;
    send(
        &site,
        Method::PATCH,
        "/presence.json",
        json!({ "bob/n": 1, "ann/n": 2, "ann/m": 3 }),
    )
    .await;
    events.expect("patch", "/", json!({ "n": 2, "m": 3 })).await;
    send(
        &site,
        Method::PATCH,
        "/.json",
        json!({ "presence/ann": { "k": 1 }, "x": 1 }),
    )
    .await;
    events.expect("put", "/", json!({ "k": 1 })).await;
    send(&site, Method::PUT, "/presence.json", json!({ "bob": 1 })).await;
    events.expect("put", "/", Value::Null).await;
}

#[tokio::test]
async fn a_reader_who_may_no_longer_read_is_told_so() {
    let site = Site::open().await;
    let mut events = Events::open(site.user("ann", Method::GET, "/presence/bob.json")).await;
    events.expect("put", "/", Value::Null).await;
    let closed = site
        .owner(Method::PUT, "/.settings/rules.json")
        .body(r#"{ "rules": {} }"#);
    assert_eq!(closed.send().await.unwrap().status(), 200);
    assert_eq!(
        events.next().await,
        Some(("cancel".to_owned(), Value::Null))
    );
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_write_that_takes_the_permission_is_not_shown() {
    let rules = r#"{ "rules": { "box": { ".read": "data.child('open').val() == true" } } }"#;
    let site = Site::with_rules(rules).await;
    assert!(site.standin.put("box", &json!({ "open": true })));
    let mut events = Events::open(site.user("ann", Method::GET, "/box.json")).await;
    events.expect("put", "/", json!({ "open": true })).await;
    send(&site, Method::PUT, "/box.json", json!({ "secret": 1 })).await;
    assert_eq!(
        events.next().await,
        Some(("cancel".to_owned(), Value::Null))
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let site = Site::open().await;
    let token = site.accounts.id_token("ann").unwrap();
    // So late that the token has a tenth of a second left.
    let late = NOW.0 + LIFETIME_S * 1000 - 100;
    site.clock.set_unix(crate::domain::time::UnixMillis(late));
    let request = site.anybody(Method::GET, "/presence/bob.json");
    let mut events = Events::open(request.query(&[("auth", token)])).await;
    events.expect("put", "/", Value::Null).await;
    let (name, _) = events.next().await.unwrap();
    assert_eq!(name, "auth_revoked");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn who_may_not_read_gets_no_stream() {
    let site = Site::open().await;
    let request = site.anybody(Method::GET, "/presence.json");
    let response = request
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn a_reader_who_does_not_keep_up_is_cut_off() {
    let site = Site::open().await;
    let mut events = follow(&site, "/big.json").await;
    // More than the sockets and the queue together can hold, and nobody reads.
    let text = "x".repeat(64 * 1024);
    for n in 0..2000 {
        assert!(site.standin.put("big", &json!({ "n": n, "text": text })));
        tokio::task::yield_now().await;
    }
    let mut seen = 0;
    while events.next().await.is_some() {
        seen += 1;
    }
    assert!(seen < 2000, "{seen}");
}

#[tokio::test]
async fn the_end_of_the_stand_in_ends_its_streams() {
    let site = Site::open().await;
    let mut events = follow(&site, "/a.json").await;
    events.expect("put", "/", Value::Null).await;
    drop(site);
    assert_eq!(events.next().await, None);
}
