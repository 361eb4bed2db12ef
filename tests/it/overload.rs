//! Too many, too much, too slow: who causes it is closed, and the others go on.

use crate::phone::{Phone, soon};
use crate::wire::{Wire, frame};
use crate::world::{World, get};
use serde_json::{Value, json};

const SHORT: (&str, &str) = ("PRESENCE_GRACE", "300ms");

#[tokio::test]
async fn beyond_the_cap_strangers_hear_503_and_a_freed_place_is_used_again() {
    let world = World::with(&[("LIMIT_CONNECTIONS", "4")]).await;
    let mut phones = Vec::new();
    for n in 0..4 {
        phones.push(world.connect(&format!("u{n}")).await);
    }
    let ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for _ in 0..20 {
        let heard = Wire::open(world.bridge).await.exchange(ask.to_vec()).await;
        assert!(heard.starts_with("HTTP/1.1 503"), "{heard}");
        assert!(heard.contains("\r\nRetry-After: 5\r\n"), "{heard}");
    }
    assert_eq!(world.metrics().tcp_refused.get(), 20);
    assert_eq!(
        get(world.admin, "/readyz").await.0,
        200,
        "operators have a door of their own"
    );
    phones.pop().unwrap().leave().await;
    soon("a place", async {
        while get(world.bridge, "/healthz").await.0 != 200 {}
    })
    .await;
    // Those inside have noticed nothing.
    for phone in &mut phones {
        phone.join("x").await;
    }
}

#[tokio::test]
async fn a_flood_fills_its_own_mailbox_and_the_others_talk_on() {
    let world = World::with(&[("LIMIT_EVENTS_PER_SECOND", "1000000")]).await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut ben = world.in_chat("ben", "x").await;
    let mut flooder = joined(Wire::open(world.bridge).await, &world, "mallory", "x").await;
    let typing = frame(0x81, br#"42["typing",{"chatId":"x"}]"#);
    let flood = tokio::spawn({
        let flood = typing.repeat(100_000);
        async move {
            flooder.say(&flood).await;
            flooder.rest().await
        }
    });
    for n in 0..100 {
        let said = ann
            .ask("send_message", json!({ "chatId": "x", "message": n }))
            .await;
        assert_eq!(said["ok"], true, "{said}");
        assert_eq!(ben.hear("new_message").await["message"], n);
    }
    soon("the end of the flood", flood).await.unwrap();
    assert_eq!(world.metrics().mailbox_full.get(), 1);
    let closed = r#"bridge_connections_closed_total{reason="overloaded"}"#;
    world.until_metric(closed, 1.0).await;
    assert_eq!(world.metrics().slow_consumers.get(), 0);
}

#[tokio::test]
async fn the_quota_refuses_what_comes_too_fast_and_says_when_to_come_again() {
    let world = World::with(&[("LIMIT_EVENTS_PER_SECOND", "5")]).await;
    let mut ann = world.connect("ann").await;
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(
            ann.begin("app_state", json!({ "state": "foreground" }))
                .await,
        );
    }
    let mut refused = 0;
    for answer in answers {
        let answer = soon("an answer", answer).await.unwrap();
        if answer["ok"] == false {
            refused += 1;
            let error = &answer["error"];
            assert_eq!(
                (error["code"].as_str(), error["retryable"].as_bool()),
                (Some("rate_limited"), Some(true))
            );
            assert!(
                error["retryAfterMs"]
                    .as_u64()
                    .is_some_and(|ms| (1..=1_000).contains(&ms)),
                "{error}"
            );
        }
    }
    assert!(refused >= 20, "{refused} of 40 refused");
}

/// Connected and joined, and from now on deaf unless it is asked to read.
async fn joined(wire: Wire, world: &World, user: &str, chat: &str) -> Wire {
    let mut wire = wire.upgraded(world.bridge).await;
    wire.text(&format!("40{}", json!({ "token": world.token(user) })))
        .await;
    wire.until("\"ready\"").await;
    wire.text(&format!("421{}", json!(["join_chat", { "chatId": chat }])))
        .await;
    wire.until("431[").await;
    wire
}

/// The numbers of the messages, in the order heard.
fn numbers(heard: &str) -> Vec<u64> {
    heard
        .split(r#"{"n":"#)
        .skip(1)
        .filter_map(|part| part.split(',').next()?.parse().ok())
        .collect()
}

#[tokio::test]
async fn a_reader_that_stops_is_closed_while_the_others_get_every_message_in_order() {
    const MESSAGES: u64 = 1_024;
    let world = World::with(&[SHORT, ("LIMIT_EVENTS_PER_SECOND", "1000000")]).await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut readers = Vec::new();
    for user in ["ben", "cid", "dan"] {
        readers.push(world.in_chat(user, "x").await);
    }
    let wire = Wire::with_buffer(world.bridge, 4_096).await;
    let mut deaf = joined(wire, &world, "eve", "x").await;
    world.until_recorded("eve", true).await;
    send(&mut ann, MESSAGES).await;
    for reader in &mut readers {
        for n in 0..MESSAGES {
            assert_eq!(reader.hear("new_message").await["message"]["n"], n);
        }
        let gone = gone(reader, "eve").await;
        assert!(gone["lastSeen"].is_u64(), "{gone}");
    }
    // It has not closed its socket and has not read a byte.
    world.until_recorded("eve", false).await;
    assert_eq!(world.metrics().slow_consumers.get(), 1);
    world.until_metric("bridge_slow_consumers_total", 1.0).await;
    world
        .until_metric(
            r#"bridge_connections_closed_total{reason="slow_consumer"}"#,
            1.0,
        )
        .await;
    // What reached it before is a beginning without gaps.
    let heard = numbers(&deaf.rest().await);
    let expected: Vec<u64> = (0..heard.len() as u64).collect();
    assert_eq!(heard, expected);
    assert!((heard.len() as u64) < MESSAGES);
}

/// A kibibyte each, in small groups.
async fn send(phone: &mut Phone, messages: u64) {
    let filler = "a".repeat(960);
    let mut under_way = Vec::new();
    for n in 0..messages {
        let message = json!({ "n": n, "t": filler });
        let payload = json!({ "chatId": "x", "message": message });
        under_way.push(phone.begin("send_message", payload).await);
        if n % 32 == 31 {
            for answer in under_way.drain(..) {
                let answer = soon("an acknowledgement", answer).await.unwrap();
                assert_eq!(answer["ok"], true, "{answer}");
            }
        }
    }
}

/// The word that somebody went.
async fn gone(phone: &mut Phone, user: &str) -> Value {
    loop {
        let heard = phone.hear("presence").await;
        if heard["userId"] == user && heard["online"] == false {
            return heard;
        }
    }
}
