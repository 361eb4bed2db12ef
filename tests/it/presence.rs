//! Who is online, as people hear it and as the database says it.

use crate::world::{World, skip};
use serde_json::json;
use std::time::Duration;

/// Long enough that a reconnect is within it on any machine.
const LONG: (&str, &str) = ("PRESENCE_GRACE", "30s");
const SHORT: (&str, &str) = ("PRESENCE_GRACE", "300ms");

#[tokio::test]
async fn arrival_is_heard_by_the_others_and_the_snapshot_names_them() {
    let world = World::new().await;
    let mut ben = world.connect("ben").await;
    assert_eq!(ben.join("x").await, json!([]));
    let mut ann = world.connect("ann").await;
    assert_eq!(
        ann.join("x").await,
        json!([{ "userId": "ben", "online": true }])
    );
    assert_eq!(
        ben.hear("presence").await,
        json!({ "userId": "ann", "online": true })
    );
    let mut tablet = world.connect("ann").await;
    tablet.join("x").await;
    assert!(
        ben.heard().await.is_empty(),
        "a second device is no arrival"
    );
    assert!(ann.heard().await.is_empty(), "nobody hears of oneself");
}

#[tokio::test]
async fn offline_comes_after_the_grace_with_the_time_of_the_disconnect() {
    let world = World::with(&[SHORT]).await;
    let mut ben = world.in_chat("ben", "x").await;
    let ann = world.in_chat("ann", "x").await;
    world.until_recorded("ann", true).await;
    assert_eq!(ben.hear("presence").await["online"], true);
    let before = world.clock.unix().0;
    ann.leave().await;
    let gone = ben.hear("presence").await;
    assert_eq!(
        (gone["userId"].as_str(), gone["online"].as_bool()),
        (Some("ann"), Some(false))
    );
    world.until_recorded("ann", false).await;
    let last_seen = gone["lastSeen"].as_u64().unwrap();
    assert!(
        (before..before + 300).contains(&last_seen) || last_seen >= before,
        "{last_seen} {before}"
    );
    assert_eq!(
        world.record("ann"),
        json!({ "online": false, "lastSeen": last_seen, "node": "main" })
    );
    assert!(
        last_seen <= world.clock.unix().0 - 300,
        "the disconnect, not the end of the grace"
    );
}

#[tokio::test]
async fn a_reconnect_within_the_grace_is_silent() {
    let world = World::with(&[LONG]).await;
    let mut ben = world.in_chat("ben", "x").await;
    let ann = world.in_chat("ann", "x").await;
    world.until_recorded("ann", true).await;
    ben.hear("presence").await;
    ann.leave().await;
    world.until_metric("bridge_connections", 1.0).await;
    let mut ann = world.connect("ann").await;
    assert_eq!(
        ann.join("x").await,
        json!([{ "userId": "ben", "online": true }])
    );
    assert!(ben.heard().await.is_empty());
    world
        .until_metric("bridge_presence_absorbed_total", 1.0)
        .await;
    assert_eq!(world.writes_of("ann"), 1, "one write, of the first arrival");
}

#[tokio::test]
async fn whoever_comes_back_and_breaks_off_before_joining_is_heard_to_go() {
    let world = World::with(&[LONG]).await;
    let mut ben = world.in_chat("ben", "x").await;
    let ann = world.in_chat("ann", "x").await;
    assert_eq!(ben.hear("presence").await["online"], true);
    ann.leave().await;
    world.until_metric("bridge_connections", 1.0).await;
    world.connect("ann").await.leave().await;
    world.until_metric("bridge_connections", 1.0).await;
    skip(Duration::from_secs(30)).await;
    let gone = ben.hear("presence").await;
    assert_eq!(
        (gone["userId"].as_str(), gone["online"].as_bool()),
        (Some("ann"), Some(false))
    );
}

#[tokio::test]
async fn a_second_device_keeps_the_user_online() {
    let world = World::with(&[SHORT]).await;
    let mut ben = world.in_chat("ben", "x").await;
    let phone = world.in_chat("ann", "x").await;
    let tablet = world.in_chat("ann", "x").await;
    ben.hear("presence").await;
    phone.leave().await;
    world.until_metric("bridge_connections", 2.0).await;
    // Ben's own coming and going is later than the end of ann's grace would have been.
    world.connect("cid").await.leave().await;
    world.until_recorded("cid", false).await;
    assert!(ben.heard().await.is_empty());
    assert_eq!(world.record("ann")["online"], true);
    tablet.leave().await;
    assert_eq!(ben.hear("presence").await["online"], false);
}

#[tokio::test]
async fn watchers_see_people_come_and_go_without_sharing_a_chat() {
    let world = World::with(&[SHORT]).await;
    let mut ben = world.connect("ben").await;
    let watched = ben
        .ask(
            "watch_presence",
            json!({ "userIds": ["ann", "ann", "ben", ""] }),
        )
        .await;
    let expected = json!([
        { "userId": "ann", "online": false },
        { "userId": "ben", "online": true },
        { "userId": "", "error": "invalid_payload" },
    ]);
    assert_eq!(watched, json!({ "ok": true, "presence": expected }));
    let ann = world.connect("ann").await;
    assert_eq!(
        ben.hear("presence").await,
        json!({ "userId": "ann", "online": true })
    );
    ann.leave().await;
    let gone = ben.hear("presence").await;
    assert_eq!(gone["online"], false);
    let again = ben
        .ask("watch_presence", json!({ "userIds": ["ann"] }))
        .await;
    assert_eq!(
        again["presence"],
        json!([{ "userId": "ann", "online": false, "lastSeen": gone["lastSeen"] }])
    );
    ben.ask("unwatch_presence", json!({ "userIds": ["ann"] }))
        .await;
    world.connect("ann").await;
    assert!(ben.heard().await.is_empty());
}

#[tokio::test]
async fn who_watches_and_shares_three_chats_hears_each_change_once() {
    let world = World::with(&[SHORT]).await;
    let mut ben = world.connect("ben").await;
    ben.ask("watch_presence", json!({ "userIds": ["ann"] }))
        .await;
    let mut ann = world.connect("ann").await;
    for chat in ["x", "y", "z"] {
        ben.join(chat).await;
        ann.join(chat).await;
    }
    assert_eq!(ben.hear("presence").await["online"], true);
    ann.leave().await;
    assert_eq!(ben.hear("presence").await["online"], false);
    assert!(ben.heard().await.is_empty());
}

#[tokio::test]
async fn a_chat_above_the_limit_hears_nothing_but_watchers_do() {
    let world = World::with(&[SHORT, ("PRESENCE_MAX_ROOM", "2")]).await;
    let mut ben = world.in_chat("ben", "x").await;
    let mut cid = world.in_chat("cid", "x").await;
    cid.ask("watch_presence", json!({ "userIds": ["ann"] }))
        .await;
    ben.hear("presence").await;
    let ann = world.in_chat("ann", "x").await;
    let dan = world.in_chat("dan", "x").await;
    assert_eq!(
        cid.hear("presence").await,
        json!({ "userId": "ann", "online": true })
    );
    ann.leave().await;
    assert_eq!(cid.hear("presence").await["online"], false);
    assert!(ben.heard().await.is_empty());
    drop(dan);
}

#[tokio::test]
async fn at_drain_everybody_is_written_offline() {
    let mut world = World::with(&[LONG]).await;
    let _phones = (world.connect("ann").await, world.connect("ben").await);
    world.connect("cid").await.leave().await;
    for user in ["ann", "ben", "cid"] {
        world.until_recorded(user, true).await;
    }
    world.drain().await;
    for user in ["ann", "ben", "cid"] {
        assert_eq!(world.record(user)["online"], false, "{user}");
    }
    assert_eq!(
        world.database.value("/presenceNodes"),
        serde_json::Value::Null,
        "the heartbeat is gone"
    );
}

#[tokio::test]
async fn a_handover_leaves_the_records_to_the_successor() {
    let mut world = World::with(&[LONG, ("PRESENCE_ON_DRAIN", "handover")]).await;
    let _phone = world.connect("ann").await;
    world.until_recorded("ann", true).await;
    world.drain().await;
    assert_eq!(world.record("ann")["online"], true);
    assert_eq!(world.writes_of("ann"), 1);
}

#[tokio::test]
async fn the_layout_of_firebases_guide_is_written_too() {
    let world = World::with(&[
        SHORT,
        ("PRESENCE_LAYOUT", "firebase-guide"),
        ("PRESENCE_PATH", "/status"),
    ])
    .await;
    let ann = world.connect("ann@example.com").await;
    let path = "/status/ann@example%2Ecom/state";
    crate::phone::soon(
        "online",
        world.database.until(|db| db.value(path) == "online"),
    )
    .await;
    ann.leave().await;
    crate::phone::soon(
        "offline",
        world.database.until(|db| db.value(path) == "offline"),
    )
    .await;
    let record = world.database.value("/status/ann@example%2Ecom");
    assert_eq!(record.as_object().unwrap().len(), 2, "{record}");
    assert!(record["last_changed"].is_u64());
}
