use super::super::{Fault, Target, Verdict};
use super::{Site, soon};
use axum::http::Method;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

fn last_verdict(site: &Site) -> Option<Verdict> {
    site.standin.history().last().map(|entry| entry.verdict)
}

#[tokio::test]
async fn a_reset_before_the_commit_leaves_nothing() {
    let site = Site::open().await;
    site.standin
        .inject(Target::any(), 1, Fault::ResetBeforeCommit);
    // Resets of idle connections are retried by clients; a fresh one reports it.
    let failed = site.owner(Method::PUT, "/a.json").json(&1).send().await;
    assert!(failed.unwrap_err().is_request());
    assert_eq!(site.standin.value("/a"), Value::Null);
    assert_eq!(last_verdict(&site), Some(Verdict::Lost));
}

#[tokio::test]
async fn a_reset_after_the_commit_is_ambiguous() {
    let site = Site::open().await;
    site.standin
        .inject(Target::any(), 1, Fault::ResetAfterCommit);
    let failed = site.owner(Method::PUT, "/a.json").json(&1).send().await;
    assert!(failed.unwrap_err().is_request());
    assert_eq!(site.standin.value("/a"), json!(1));
    assert_eq!(last_verdict(&site), Some(Verdict::Committed { records: 1 }));
}

#[tokio::test]
async fn a_reset_is_a_reset_on_the_wire() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let site = Site::open().await;
    site.standin
        .inject(Target::any(), 1, Fault::ResetBeforeCommit);
    let mut stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
    stream
        .write_all(b"GET /a.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let error = soon(stream.read_to_end(&mut answer)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn hanging_requests_end_with_their_client() {
    let site = Site::open().await;
    let hang = async |fault: Fault, path: &str| {
        site.standin.inject(Target::any(), 1, fault);
        let put = site.owner(Method::PUT, path).json(&1);
        let error = put
            .timeout(Duration::from_millis(300))
            .send()
            .await
            .unwrap_err();
        assert!(error.is_timeout());
    };
    hang(Fault::HangBeforeCommit, "/before.json").await;
    assert_eq!(site.standin.value("/"), Value::Null);
    hang(Fault::HangAfterCommit, "/after.json").await;
    assert_eq!(site.standin.value("/"), json!({ "after": 1 }));
}

#[tokio::test]
async fn a_delayed_write_lands_after_its_client_has_gone() {
    let site = Site::open().await;
    let fault = Fault::DelayCommit(Duration::from_millis(400));
    site.standin.inject(Target::any(), 1, fault);
    let put = site.owner(Method::PUT, "/a.json").json(&1);
    let error = put
        .timeout(Duration::from_millis(100))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(site.standin.value("/a"), Value::Null);
    soon(
        site.standin
            .until(|standin| standin.value("/a") == json!(1)),
    )
    .await;
}

#[tokio::test]
async fn a_slow_body_starts_and_stops() {
    let site = Site::open().await;
    site.standin.inject(Target::any(), 1, Fault::SlowBody);
    let put = site.owner(Method::PUT, "/a.json").json(&json!({ "b": 1 }));
    let mut response = put
        .timeout(Duration::from_millis(500))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.chunk().await.unwrap().unwrap().len(), 1);
    assert!(response.chunk().await.unwrap_err().is_timeout());
    assert_eq!(site.standin.value("/a/b"), json!(1));
}

#[tokio::test]
async fn faults_wait_for_their_target_and_can_be_forgotten() {
    let site = Site::open().await;
    let target = Target::method(Method::PATCH).under("/presence");
    site.standin
        .inject(target, 2, Fault::Status(500, String::new()));
    let send = async |method: Method, path: &str| {
        let request = site.owner(method, path).json(&json!({ "a": 1 }));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(Method::PUT, "/presence.json").await, 200);
    assert_eq!(send(Method::PATCH, "/other.json").await, 200);
    assert_eq!(send(Method::PATCH, "/presence.json").await, 500);
    site.standin.clear_faults();
    assert_eq!(send(Method::PATCH, "/presence.json").await, 200);
}
