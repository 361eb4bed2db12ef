//! Strangers on the wire: each loses its own connection, and nobody else notices.

use crate::phone::soon;
use crate::polling;
use crate::wire::{Wire, frame};
use crate::world::{World, get, skip};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

/// Beyond every time limit of the front door.
const LONG: Duration = Duration::from_secs(11);

async fn until_open(world: &World, connections: i64) {
    soon("open connections", async {
        while world.metrics().tcp_connections.get() != connections {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_does_not_finish_the_head_of_a_request_is_closed() {
    let world = World::new().await;
    let mut silent = Wire::open(world.bridge).await;
    let mut slow = Wire::open(world.bridge).await;
    slow.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\n").await;
    until_open(&world, 2).await;
    // Each byte comes in good time, the head never ends.
    skip(LONG / 2).await;
    slow.say(b"A").await;
    skip(LONG / 2).await;
    for wire in [&mut silent, &mut slow] {
        let heard = wire.rest().await;
        assert!(
            heard.is_empty() || heard.starts_with("HTTP/1.1 408"),
            "{heard}"
        );
    }
    until_open(&world, 0).await;
    assert_eq!(get(world.bridge, "/healthz").await.0, 200);
}

#[tokio::test]
async fn heads_without_measure_are_refused() {
    let world = World::new().await;
    let large = "a".repeat(3_000);
    let headers = |count: usize, value: &str| {
        let mut head = "GET /healthz HTTP/1.1\r\nHost: x\r\n".to_owned();
        for n in 0..count {
            head += &["X-", &n.to_string(), ": ", value, "\r\n"].concat();
        }
        head + "\r\n"
    };
    for (what, head, statuses) in [
        ("300 KB of headers", headers(100, &large), &["431"][..]),
        ("one header of 300 KB", headers(1, &large.repeat(100)), &["431"]),
        ("a hundred headers", headers(100, "a"), &["431"]),
        (
            "a path of 10 MB",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(10_000_000)),
            &["414", "431", "400"],
        ),
        ("no HTTP at all", "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), &["400"]),
        ("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &["400"]),
        (
            "two lengths",
            "POST /socket.io/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
            &["400"],
        ),
    ] {
        let heard = Wire::open(world.bridge).await.exchange(head.into_bytes()).await;
        let status = heard.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        // A reset may overtake the answer; the end of the connection is what counts.
        assert!(
            heard.is_empty() || statuses.iter().any(|code| status == Some(code)),
            "{what}: {heard}"
        );
    }
    until_open(&world, 0).await;
    assert_eq!(get(world.bridge, "/healthz").await.0, 200);
}

#[tokio::test]
async fn frames_that_no_client_sends_end_their_own_connection_only() {
    let world = World::new().await;
    let mut ann = world.in_chat("ann", "x").await;
    let mut declared = vec![0x81, 0x80 | 127];
    declared.extend_from_slice(&(64_u64 << 20).to_be_bytes());
    declared.extend_from_slice(&[1, 2, 3, 4]);
    let mut pieces = frame(0x01, &[b'a'; 4_000]);
    for _ in 0..8 {
        pieces.extend(frame(0x00, &[b'a'; 4_000]));
    }
    for (what, bytes) in [
        ("64 MiB declared", declared),
        (
            "a frame above the limit",
            frame(0x81, &vec![b'a'; 64 * 1024]),
        ),
        ("pieces above the limit together", pieces),
        ("unmasked", vec![0x81, 2, b'4', b'0']),
        ("reserved opcode 3", frame(0x83, b"40")),
        ("reserved opcode 11", frame(0x8b, b"")),
        ("reserved bits", frame(0xf1, b"40")),
        ("a ping in pieces", frame(0x09, b"")),
        ("a ping of 200 bytes", frame(0x89, &[b'a'; 200])),
        ("a piece of nothing", frame(0x80, b"40")),
        ("not UTF-8", frame(0x81, &[b'4', b'2', 0xc3, 0x28])),
        ("half a surrogate", frame(0x81, &[b'4', 0xed, 0xa0, 0x80])),
        ("a close of one byte", frame(0x88, &[3])),
    ] {
        let mut wire = Wire::open(world.bridge).await.upgraded(world.bridge).await;
        wire.say(&bytes).await;
        let heard = wire.rest().await;
        assert!(heard.len() < 200, "{what}: {heard}");
        let said = ann
            .ask("send_message", json!({ "chatId": "x", "message": 1 }))
            .await;
        assert_eq!(said["ok"], true, "{what}");
    }
    assert_eq!(world.metrics().panics.get(), 0);
}

#[tokio::test]
async fn a_transport_that_never_connects_is_closed() {
    let world = World::new().await;
    let mut wire = Wire::open(world.bridge).await.upgraded(world.bridge).await;
    skip(LONG).await;
    wire.rest().await;
    until_open(&world, 0).await;
}

#[tokio::test]
async fn a_transport_that_was_refused_or_left_is_closed() {
    let world = World::with(&[("PING_TIMEOUT", "2m")]).await;
    let mut refused = Wire::open(world.bridge).await.upgraded(world.bridge).await;
    refused.text(r#"40{"token":"bad"}"#).await;
    refused.until("unauthorized").await;
    skip(LONG).await;
    refused.rest().await;
    // Otherwise one user could hold every place, and count as no connection at all.
    let mut left = Wire::open(world.bridge).await.upgraded(world.bridge).await;
    left.text(&format!("40{}", json!({ "token": world.token("ann") })))
        .await;
    left.until("\"ready\"").await;
    left.text("41").await;
    left.rest().await;
    until_open(&world, 0).await;
}

/// A session over polling: its id, and a client to ask with.
pub(crate) async fn polling(bridge: SocketAddr) -> (reqwest::Client, String) {
    let client = polling::client();
    let sid = polling::open(&client, bridge).await;
    (client, sid)
}

#[tokio::test]
async fn a_polling_body_above_the_limit_is_refused() {
    let world = World::new().await;
    for (what, declare) in [("declared", true), ("found out on the way", false)] {
        let (_, sid) = polling(world.bridge).await;
        let body = "a".repeat(1 << 20);
        let head =
            format!("POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n");
        let request = if declare {
            format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
        } else {
            format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
        };
        let answer = Wire::open(world.bridge)
            .await
            .exchange(request.into_bytes())
            .await;
        let status = answer
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        assert!(
            answer.is_empty() || matches!(status, Some("413" | "400")),
            "{what}: {answer}"
        );
    }
    until_open(&world, 0).await;
}

#[tokio::test]
async fn a_polling_body_that_never_ends_is_closed() {
    let world = World::new().await;
    let (_, sid) = polling(world.bridge).await;
    let mut wire = Wire::open(world.bridge).await;
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n4"
    );
    wire.say(head.as_bytes()).await;
    until_open(&world, 1).await;
    // Each byte comes in good time, the body never ends; the session itself ends by its pings.
    for _ in 0..8 {
        skip(LONG / 2).await;
        wire.say(b"0").await;
    }
    wire.rest().await;
}

#[tokio::test]
async fn guessed_session_ids_open_nothing() {
    let world = World::new().await;
    let mut ann = world.in_chat("ann", "x").await;
    let (client, sid) = polling(world.bridge).await;
    let mut guesses: Vec<String> = (0..300_u128)
        .map(|n| format!("{:0>16}", format!("{:x}", n * 7_919)))
        .collect();
    guesses.extend(["", "x", "../../x", "%00", "AAAAAAAAAAAAAAAA", "-1"].map(str::to_owned));
    guesses.push(sid.to_lowercase() + "A");
    // A transport that the session does not have: ann's is a WebSocket.
    guesses.push(ann.sid.clone());
    for guess in guesses {
        let url = format!(
            "http://{}/socket.io/?EIO=4&transport=polling&sid={guess}",
            world.bridge
        );
        let read = client.post(url).body("41").send().await.unwrap();
        assert_eq!(read.status(), 400, "{guess}");
        let text = read.text().await.unwrap();
        assert!(!text.contains("ann"), "{text}");
    }
    let relayed = ann
        .ask("send_message", json!({ "chatId": "x", "message": 1 }))
        .await;
    assert_eq!(relayed["ok"], true);
}
