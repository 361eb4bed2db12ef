//! Facts of the libraries that our code leans on. When one of these fails, read the code that names it.

use crate::phone::{Phone, soon};
use crate::world::World;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::Message;

type Raw =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(bridge: SocketAddr) -> Raw {
    let url = format!("ws://{bridge}/socket.io/?EIO=4&transport=websocket");
    let (mut socket, _) = soon("the upgrade", tokio_tungstenite::connect_async(url))
        .await
        .unwrap();
    soon("open", socket.next()).await.unwrap().unwrap();
    socket
}

/// Until the bridge ends the connection.
async fn ended(socket: &mut Raw) {
    soon("the end", async {
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
}

#[tokio::test]
async fn an_event_right_after_connect_finds_its_handler() {
    let world = World::new().await;
    for n in 0..200 {
        let mut socket = open(world.bridge).await;
        let auth = json!({ "token": world.token(&format!("u{n}")) });
        socket
            .feed(Message::text(format!("40{auth}")))
            .await
            .unwrap();
        socket.flush().await.unwrap();
        // The answer to CONNECT is the last thing before a client may speak.
        while !soon("connect", socket.next())
            .await
            .unwrap()
            .unwrap()
            .to_text()
            .unwrap()
            .starts_with("40")
        {}
        socket
            .send(Message::text(r#"421["join_chat",{"chatId":"x"}]"#))
            .await
            .unwrap();
        soon("the acknowledgement", async {
            while !socket
                .next()
                .await
                .unwrap()
                .unwrap()
                .to_text()
                .unwrap()
                .starts_with("431")
            {}
        })
        .await;
    }
}

#[tokio::test]
async fn a_second_connect_on_one_transport_changes_nobodys_presence() {
    let world = World::with(&[("PRESENCE_GRACE", "100ms")]).await;
    let mut phone = world.connect("ann").await;
    let other = json!({ "token": world.token("ben") });
    phone.raw(format!("40{other}")).await;
    phone.join("x").await;
    world.until_recorded("ann", true).await;
    phone.leave().await;
    world.until_recorded("ann", false).await;
    assert_eq!(world.record("ben"), serde_json::Value::Null);
    world.until_metric("bridge_connections", 0.0).await;
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_connection_also_before_authentication() {
    let world = World::with(&[("LIMIT_MESSAGE_SIZE", "1KiB")]).await;
    let mut socket = open(world.bridge).await;
    socket
        .send(Message::text(format!("40{}", "a".repeat(6 * 1024))))
        .await
        .unwrap();
    ended(&mut socket).await;
}

#[tokio::test]
async fn attachments_are_refused_before_authentication() {
    let world = World::new().await;
    let mut socket = open(world.bridge).await;
    socket
        .send(Message::text(r#"451-["x",{"_placeholder":true,"num":0}]"#))
        .await
        .unwrap();
    ended(&mut socket).await;
}

#[tokio::test]
async fn hostile_packets_end_at_most_their_own_connection() {
    let world = World::new().await;
    for packet in [
        "2",
        "42",
        "42[]",
        "42[1]",
        "42{}",
        "42[null]",
        r#"42["error"]"#,
        r#"42["__proto__",{}]"#,
        r#"42["a","#,
        r#"42[{"toString":"x"}]"#,
        "43",
        "431[]",
        "439223372036854775808[]",
        "44",
        "45",
        "46",
        "49",
        "4",
        "9",
        "",
        "5",
        "6",
        "b",
        "40/admin,{}",
        "40/%2e%2e,",
        "41/x,",
        "é",
        "4é",
        "42\u{0}",
    ] {
        let mut phone = Phone::connect(world.bridge, &world.token("ann"))
            .await
            .unwrap();
        phone.raw(packet.to_owned()).await;
        // The bridge still serves others.
        let mut other = world.connect("ben").await;
        other.join("x").await;
    }
    assert!(world.metric("bridge_panics_total").await.abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_socket_leaves_every_room_with_its_session() {
    let world = World::with(&[("PRESENCE_GRACE", "50ms")]).await;
    let mut ben = world.in_chat("ben", "x").await;
    for _ in 0..20 {
        let mut ann = world.connect("ann").await;
        // Left over in the mailbox when the disconnect is noticed.
        ann.say("join_chat", json!({ "chatId": "x" })).await;
        ann.leave().await;
    }
    world.until_metric("bridge_connections", 1.0).await;
    world.until_recorded("ann", false).await;
    ben.ask("leave_chat", json!({ "chatId": "x" })).await;
    assert_eq!(ben.join("x").await, json!([]));
}
