//! Typing is a lease of the connection.

use crate::world::World;
use serde_json::json;

#[tokio::test]
async fn typing_is_heard_once_and_ends_by_itself() {
    let world = World::with(&[("TYPING_TTL", "1s")]).await;
    let mut ben = world.in_chat("ben", "x").await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut tablet = world.in_chat("ann", "x").await;
    for _ in 0..3 {
        assert_eq!(
            ann.ask("typing", json!({ "chatId": "x" })).await,
            json!({ "ok": true })
        );
    }
    assert_eq!(
        ben.hear("typing").await,
        json!({ "chatId": "x", "userId": "ann" })
    );
    assert_eq!(
        ben.hear("stop_typing").await,
        json!({ "chatId": "x", "userId": "ann" })
    );
    let typings = |heard: Vec<(String, _)>| {
        heard
            .iter()
            .filter(|(event, _)| event.ends_with("typing"))
            .count()
    };
    assert_eq!(
        typings(ben.heard().await),
        0,
        "repeats inside the lease are not relayed"
    );
    assert_eq!(
        typings(tablet.heard().await),
        0,
        "the user's other devices hear nothing"
    );
}

#[tokio::test]
async fn a_message_ends_typing_and_the_end_comes_first() {
    let world = World::new().await;
    let mut ben = world.in_chat("ben", "x").await;
    let mut ann = world.in_chat("ann", "x").await;
    ann.ask("typing", json!({ "chatId": "x" })).await;
    ann.ask("send_message", json!({ "chatId": "x", "message": "done" }))
        .await;
    ben.hear("presence").await;
    let events: Vec<_> = ben
        .heard()
        .await
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    assert_eq!(events, ["typing", "stop_typing", "new_message"]);
}

#[tokio::test]
async fn stop_leave_and_disconnect_end_typing() {
    let world = World::new().await;
    let mut ben = world.in_chat("ben", "x").await;
    let mut ann = world.in_chat("ann", "x").await;
    ann.ask("typing", json!({ "chatId": "x" })).await;
    ann.ask("stop_typing", json!({ "chatId": "x" })).await;
    ben.hear("typing").await;
    ben.hear("stop_typing").await;
    ann.ask("typing", json!({ "chatId": "x" })).await;
    ann.ask("leave_chat", json!({ "chatId": "x" })).await;
    ben.hear("typing").await;
    ben.hear("stop_typing").await;
    ann.join("x").await;
    ann.ask("typing", json!({ "chatId": "x" })).await;
    ben.hear("typing").await;
    ann.leave().await;
    ben.hear("stop_typing").await;
    assert!(!ben.heard().await.iter().any(|(event, _)| event == "typing"));
}

#[tokio::test]
async fn a_second_device_keeps_typing_alive() {
    let world = World::new().await;
    let mut ben = world.in_chat("ben", "x").await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut tablet = world.in_chat("ann", "x").await;
    ann.ask("typing", json!({ "chatId": "x" })).await;
    tablet.ask("typing", json!({ "chatId": "x" })).await;
    ann.ask("stop_typing", json!({ "chatId": "x" })).await;
    ben.hear("typing").await;
    assert!(
        !ben.heard()
            .await
            .iter()
            .any(|(event, _)| event.ends_with("typing"))
    );
    tablet.ask("stop_typing", json!({ "chatId": "x" })).await;
    ben.hear("stop_typing").await;
}
