//! Messages, receipts, group events, and what is refused.

use crate::phone::soon;
use crate::world::World;
use serde_json::{Value, json};

#[tokio::test]
async fn a_message_reaches_the_others_and_the_senders_other_devices_in_order() {
    let world = World::with(&[("LIMIT_EVENTS_PER_SECOND", "10000")]).await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut ann_tablet = world.in_chat("ann", "x").await;
    let mut ben = world.in_chat("ben", "x").await;
    let mut under_way = Vec::new();
    for n in 0..500 {
        under_way.push(
            ann.begin(
                "send_message",
                json!({ "chatId": "x", "message": { "n": n } }),
            )
            .await,
        );
    }
    for answer in under_way {
        let answer = soon("ack", answer).await.unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
    }
    for listener in [&mut ben, &mut ann_tablet] {
        for n in 0..500 {
            let message = listener.hear("new_message").await;
            assert_eq!(message["message"]["n"], n);
            assert_eq!(
                (message["senderId"].as_str(), message["chatId"].as_str()),
                (Some("ann"), Some("x"))
            );
        }
    }
    assert!(
        !ann.heard()
            .await
            .iter()
            .any(|(event, _)| event == "new_message"),
        "the sender hears nothing"
    );
}

#[tokio::test]
async fn a_message_arrives_to_the_byte() {
    let world = World::new().await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut ben = world.in_chat("ben", "x").await;
    // Numbers that JSON libraries like to change, escapes, an order of keys, a placeholder of Socket.IO's.
    let message = r#"{"z":1.0,"a":1e400,"big":12345678901234567890123,"s":"é\u0000😀","_placeholder":true,"num":0}"#;
    ann.raw(format!(
        r#"42["send_message",{{"chatId":"x","message":{message},"senderId":"mallory"}}]"#
    ))
    .await;
    ann.raw(r#"421["app_state",{"state":"foreground"}]"#.to_owned())
        .await;
    ben.raw(r#"421["app_state",{"state":"foreground"}]"#.to_owned())
        .await;
    let heard = soon("raw", ben.hear_raw("new_message")).await;
    assert!(heard.contains(message), "{heard}");
    assert!(heard.contains(r#""senderId":"ann""#), "{heard}");
}

#[tokio::test]
async fn join_followed_at_once_by_a_message_works() {
    let world = World::new().await;
    let mut ben = world.in_chat("ben", "x").await;
    let mut ann = world.connect("ann").await;
    ann.say("join_chat", json!({ "chatId": "x" })).await;
    ann.say("send_message", json!({ "chatId": "x", "message": "hi" }))
        .await;
    assert_eq!(ben.hear("new_message").await["message"], "hi");
}

#[tokio::test]
async fn a_repeated_message_is_answered_and_not_relayed() {
    let world = World::new().await;
    let mut ben = world.in_chat("ben", "x").await;
    let mut ann = world.in_chat("ann", "x").await;
    let message = json!({ "chatId": "x", "message": "hi", "clientMessageId": "m1" });
    let first = ann.ask("send_message", message.clone()).await;
    let mut tablet = world.in_chat("ann", "x").await;
    let again = tablet.ask("send_message", message).await;
    assert_eq!(
        first,
        json!({ "ok": true, "deliveredAt": first["deliveredAt"] })
    );
    assert_eq!(
        again,
        json!({ "ok": true, "deliveredAt": first["deliveredAt"], "duplicate": true })
    );
    let messages: Vec<_> = ben
        .heard()
        .await
        .into_iter()
        .filter(|(event, _)| event == "new_message")
        .collect();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].1["clientMessageId"], "m1");
}

#[tokio::test]
async fn receipts_and_group_events_reach_every_joined_connection_but_the_senders() {
    let world = World::new().await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut tablet = world.in_chat("ann", "x").await;
    let mut ben = world.in_chat("ben", "x").await;
    let receipt = json!({ "chatId": "x", "messageIds": ["1", "2"], "kind": "read" });
    assert_eq!(ann.ask("receipt", receipt).await, json!({ "ok": true }));
    let changed = ann
        .ask(
            "group_event",
            json!({ "chatId": "x", "type": "renamed", "data": { "to": "y" } }),
        )
        .await;
    for listener in [&mut tablet, &mut ben] {
        let receipt =
            json!({ "chatId": "x", "messageIds": ["1", "2"], "kind": "read", "userId": "ann" });
        assert_eq!(listener.hear("receipt").await, receipt);
        let event = json!({
            "chatId": "x", "type": "renamed", "data": { "to": "y" }, "userId": "ann", "deliveredAt": changed["deliveredAt"]
        });
        assert_eq!(listener.hear("group_event").await, event);
    }
}

#[tokio::test]
async fn what_the_table_does_not_allow_is_refused_with_its_code() {
    let world = World::with(&[
        ("LIMIT_CHATS_PER_CONNECTION", "1"),
        ("LIMIT_MESSAGE_SIZE", "1KiB"),
        ("LIMIT_WATCHED_USERS", "1"),
    ])
    .await;
    let mut ann = world.in_chat("ann", "x").await;
    for (event, payload, code) in refused_messages().into_iter().chain(refused_elsewhere()) {
        let answer = ann.ask(event, payload.clone()).await;
        assert_eq!(answer["ok"], false, "{event} {payload}");
        assert_eq!(answer["error"]["code"], code, "{event} {payload}: {answer}");
        assert!(
            answer["error"]["message"].is_string() && answer["error"]["retryable"].is_boolean(),
            "{answer}"
        );
    }
    assert_eq!(
        ann.ask("leave_chat", json!({ "chatId": "y" })).await,
        json!({ "ok": true })
    );
}

#[tokio::test]
async fn a_failure_without_acknowledgement_comes_back_as_an_event() {
    let world = World::new().await;
    let mut ann = world.connect("ann").await;
    ann.say("send_message", json!({ "chatId": "x", "message": 1 }))
        .await;
    let error = ann.hear("event_error").await;
    assert_eq!(
        (error["event"].as_str(), error["error"]["code"].as_str()),
        (Some("send_message"), Some("not_joined"))
    );
}

#[tokio::test]
async fn an_unknown_event_is_counted_and_answered_only_to_whoever_asks() {
    let world = World::new().await;
    let mut ann = world.connect("ann").await;
    for name in ["no_such_event", "error", "disconnect", "__proto__", ""] {
        ann.say(name, json!({})).await;
    }
    assert!(ann.heard().await.is_empty());
    assert_eq!(world.metrics().events_unknown.get(), 5);
    let answer = ann.ask("no_such_event", json!({})).await;
    assert_eq!(answer["error"]["code"], "unknown_event");
}

#[tokio::test]
async fn too_many_events_are_refused_with_when_to_come_back() {
    let world = World::with(&[("LIMIT_EVENTS_PER_SECOND", "1")]).await;
    let mut ann = world.connect("ann").await;
    let mut answer = json!({ "ok": true });
    for _ in 0..50 {
        answer = ann.ask("app_state", json!({ "state": "foreground" })).await;
        if answer["ok"] == false {
            break;
        }
    }
    assert_eq!(answer["error"]["code"], "rate_limited");
    assert_eq!(answer["error"]["retryable"], true);
    assert!(
        (1..=1_000).contains(&answer["error"]["retryAfterMs"].as_u64().unwrap()),
        "{answer}"
    );
}

#[tokio::test]
async fn nobody_hears_a_chat_that_was_left() {
    let world = World::new().await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut ben = world.in_chat("ben", "x").await;
    ben.ask("leave_chat", json!({ "chatId": "x" })).await;
    ann.ask("send_message", json!({ "chatId": "x", "message": "gone?" }))
        .await;
    assert!(
        !ben.heard()
            .await
            .iter()
            .any(|(event, _)| event == "new_message")
    );
}

#[tokio::test]
async fn ids_that_look_like_rooms_reach_nobody_else() {
    let world = World::new().await;
    let mut ben = world.in_chat("ben", "x").await;
    // Room names have a kind prefix: neither a user's nor a watcher's room can be joined by name.
    let mut mallory = world.connect("mallory").await;
    for chat in ["u:ben", "w:ben", "c:x"] {
        mallory.join(chat).await;
        mallory
            .ask("send_message", json!({ "chatId": chat, "message": "psst" }))
            .await;
    }
    assert!(
        !ben.heard()
            .await
            .iter()
            .any(|(event, _)| event == "new_message")
    );
}

#[tokio::test]
async fn no_payload_holds_a_socket_id_of_somebody_else() {
    let world = World::new().await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut ben = world.in_chat("ben", "x").await;
    ann.ask("typing", json!({ "chatId": "x" })).await;
    ann.ask("send_message", json!({ "chatId": "x", "message": "hi" }))
        .await;
    let heard = ben.heard().await;
    assert!(heard.len() >= 3, "{heard:?}");
    for (_, payload) in heard {
        assert!(!payload.to_string().contains(&ann.sid), "{payload}");
    }
}

/// Event, payload and the code it is refused with, for a connection that has joined `x`.
/// An array in an array in an array …
fn nested(levels: u32) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

fn refused_messages() -> Vec<(&'static str, Value, &'static str)> {
    let long = "a".repeat(129);
    vec![
        (
            "send_message",
            json!({ "chatId": "y", "message": 1 }),
            "not_joined",
        ),
        ("send_message", json!({ "chatId": "x" }), "invalid_payload"),
        (
            "send_message",
            json!({ "chatId": "a/b", "message": 1 }),
            "invalid_payload",
        ),
        (
            "send_message",
            json!({ "chatId": "x", "message": 1, "clientMessageId": "" }),
            "invalid_payload",
        ),
        (
            "send_message",
            json!({ "chatId": "x", "message": 1, "clientMessageId": long }),
            "invalid_payload",
        ),
        (
            "send_message",
            json!({ "chatId": "x", "message": "a".repeat(1024) }),
            "too_large",
        ),
        (
            "send_message",
            json!({ "chatId": "x", "message": nested(64) }),
            "invalid_payload",
        ),
        ("send_message", json!("x"), "invalid_payload"),
        ("send_message", Value::Null, "invalid_payload"),
    ]
}

fn refused_elsewhere() -> Vec<(&'static str, Value, &'static str)> {
    let long = "a".repeat(129);
    vec![
        ("join_chat", json!({ "chatId": "y" }), "too_many_chats"),
        ("join_chat", json!({ "chatId": ".." }), "invalid_payload"),
        ("join_chat", json!({ "chatId": long }), "invalid_payload"),
        ("join_chat", json!({ "chatId": 1 }), "invalid_payload"),
        ("typing", json!({ "chatId": "y" }), "not_joined"),
        ("stop_typing", json!({ "chatId": "y" }), "not_joined"),
        (
            "receipt",
            json!({ "chatId": "x", "messageIds": [], "kind": "read" }),
            "invalid_payload",
        ),
        (
            "receipt",
            json!({ "chatId": "x", "messageIds": ["1"], "kind": "seen" }),
            "invalid_payload",
        ),
        (
            "receipt",
            json!({ "chatId": "y", "messageIds": ["1"], "kind": "read" }),
            "not_joined",
        ),
        (
            "group_event",
            json!({ "chatId": "x", "type": "" }),
            "invalid_payload",
        ),
        (
            "watch_presence",
            json!({ "userIds": ["ben", "cid"] }),
            "invalid_payload",
        ),
        ("app_state", json!({ "state": "asleep" }), "invalid_payload"),
        ("refresh_token", json!({ "token": 1 }), "invalid_payload"),
        ("no_such_event", json!({}), "unknown_event"),
    ]
}
