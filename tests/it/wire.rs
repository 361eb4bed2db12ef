//! A bare TCP connection to the bridge: what no client library would send can be sent here.

use crate::phone::{DEADLINE, soon};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self(
            soon("a connection", TcpStream::connect(address))
                .await
                .unwrap(),
        )
    }

    /// With a receive buffer of so many bytes (Linux doubles it).
    pub(crate) async fn with_buffer(address: SocketAddr, bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        Self(soon("a connection", socket.connect(address)).await.unwrap())
    }

    /// A WebSocket up to and with Engine.IO's open packet.
    pub(crate) async fn upgraded(self, address: SocketAddr) -> Self {
        let mut wire = self;
        let head = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        wire.say(head.as_bytes()).await;
        wire.until("\"sid\"").await;
        wire
    }

    /// The WebSocket to which the polling session `sid` asks to move.
    pub(crate) async fn moving(self, address: SocketAddr, sid: &str) -> Self {
        let mut wire = self;
        let head = format!(
            "GET /socket.io/?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        wire.say(head.as_bytes()).await;
        wire.until("\r\n\r\n").await;
        wire
    }

    /// Completes the move.
    pub(crate) async fn moved(self) -> Self {
        let mut wire = self;
        wire.text("2probe").await;
        wire.until("3probe").await;
        wire.text("5").await;
        wire
    }

    /// Sends what the other side still takes.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        // A bridge that has had enough closes; what matters is what it says.
        self.0.write_all(bytes).await.unwrap_or_default();
    }

    /// Sends one text frame, masked as clients must.
    pub(crate) async fn text(&mut self, text: &str) {
        self.say(&frame(0x81, text.as_bytes())).await;
    }

    /// Reads until `part` was heard; frames and all, as text.
    pub(crate) async fn until(&mut self, part: &str) -> String {
        let mut heard = Vec::new();
        let mut chunk = [0; 4096];
        soon(part, async {
            loop {
                let length = self.0.read(&mut chunk).await.unwrap();
                assert!(length > 0, "the end came before {part}");
                heard.extend_from_slice(&chunk[..length]);
                let text = String::from_utf8_lossy(&heard);
                if text.contains(part) {
                    return text.into_owned();
                }
            }
        })
        .await
    }

    /// Everything up to the end of the connection, orderly or not.
    pub(crate) async fn rest(&mut self) -> String {
        rest_of(&mut self.0).await
    }

    /// Sends and listens at the same time: neither side can block the other.
    pub(crate) async fn exchange(self, bytes: Vec<u8>) -> String {
        let (mut from, mut to) = self.0.into_split();
        let sending = tokio::spawn(async move {
            to.write_all(&bytes).await.unwrap_or_default();
            to
        });
        let heard = rest_of(&mut from).await;
        drop(sending);
        heard
    }
}

async fn rest_of(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut heard = Vec::new();
    let mut chunk = [0; 4096];
    let ended = tokio::time::timeout(DEADLINE, async {
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            heard.extend_from_slice(&chunk[..length]);
        }
    });
    let ended = ended.await.is_ok();
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(ended, "the connection stays open after {heard:?}");
    heard
}

/// A client's frame with this first byte: final bit, reserved bits, opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = [7, 11, 13, 17];
    frame.extend_from_slice(&mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}
