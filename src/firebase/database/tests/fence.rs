//! The requests of the fence.

use super::*;

#[tokio::test]
async fn a_batch_behind_the_fence_says_who_it_is_to_the_rules() {
    let denied = || say(401, r#"{"error":"Permission denied"}"#);
    let (script, database) = bench([say(204, ""), denied()]).await;
    assert_eq!(database.write(&ann(), Some(7)).await, Ok(()));
    let reason = WriteError::Denied("status 401: Permission denied".to_owned());
    assert_eq!(database.write(&ann(), Some(7)).await, Err(reason));
    let asked = script.asked();
    assert_eq!(
        asked.len(),
        2,
        "a fresh token would not change the rules' mind"
    );
    let line = "PATCH /presence.json?print=silent&auth_variable_override=\
        %7B%22epoch%22%3A7%2C%22uid%22%3A%22presence-bridge%22%7D";
    assert_eq!(asked[0].line, line);
}

#[tokio::test]
async fn the_fence_is_read_with_its_tag_and_taken_by_it() {
    let there = r#"{"epoch":4,"owner":"b0","nonce":"18446744073709551615"}"#;
    let (script, database) = bench([
        Reply::Say(200, "ETag: a+b/c=\r\n", there.to_owned()),
        say(200, "{}"),
        say(412, there),
        say(500, ""),
    ])
    .await;
    let found = database.fence().await.unwrap();
    let record = FenceRecord {
        epoch: 4,
        owner: "b0".to_owned(),
        nonce: u64::MAX,
    };
    assert_eq!(found.record, Some(record.clone()));
    assert_eq!(found.tag, "a+b/c=");
    assert_eq!(database.take_fence(&record, "a+b/c=").await, Ok(true));
    assert_eq!(database.take_fence(&record, "a+b/c=").await, Ok(false));
    let unknown = database.take_fence(&record, "a+b/c=").await;
    assert_eq!(unknown, Err(WriteError::Ambiguous));
    let asked = script.asked();
    assert_eq!(asked[0].line, "GET /presenceFence.json");
    assert_eq!(asked[0].tag, ["x-firebase-etag: true"]);
    assert_eq!(asked[1].line, "PUT /presenceFence.json");
    assert_eq!(asked[1].tag, ["if-match: a+b/c="]);
    assert_eq!(
        asked[1].body,
        r#"{"epoch":4,"nonce":"18446744073709551615","owner":"b0"}"#
    );
}

#[tokio::test]
async fn a_fence_without_a_tag_cannot_be_taken() {
    let (_script, database) = bench([say(200, "null")]).await;
    let untold = ReadError::Denied("no ETag for the fence".to_owned());
    assert_eq!(database.fence().await, Err(untold));
}
