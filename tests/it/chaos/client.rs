//! One Socket.IO connection that may fail at any moment without failing the test.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Within this a handshake is done or given up, as the stock client does (20 s there).
const HANDSHAKE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    /// A silence as long as this is the end, as for the stock client: an interval of the pings and
    /// their timeout, as the bridge has told them.
    patience: Duration,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The code of `connect_error`.
    Refused(String),
    Broken,
}

impl From<Error> for Failed {
    fn from(_: Error) -> Self {
        Self::Broken
    }
}

impl Client {
    pub(crate) async fn connect(bridge: SocketAddr, token: &str) -> Result<Self, Failed> {
        let opening = async {
            let stream = TcpStream::connect(bridge)
                .await
                .map_err(|_| Failed::Broken)?;
            Self::over(stream, token).await
        };
        tokio::time::timeout(HANDSHAKE, opening)
            .await
            .unwrap_or(Err(Failed::Broken))
    }

    /// With a receive buffer as small as it can be, so that a reader who stops is noticed soon.
    pub(crate) async fn narrow(bridge: SocketAddr, token: &str) -> Result<Self, Failed> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let stream = socket.connect(bridge).await.map_err(|_| Failed::Broken)?;
        Self::over(stream, token).await
    }

    /// Upgrade, CONNECT, and everything up to `ready`.
    pub(crate) async fn over(stream: TcpStream, token: &str) -> Result<Self, Failed> {
        stream.set_nodelay(true).map_err(|_| Failed::Broken)?;
        let host = stream.peer_addr().map_err(|_| Failed::Broken)?;
        let url = format!("ws://{host}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        let mut client = Self {
            socket,
            patience: HANDSHAKE,
        };
        let connect = format!("40{}", json!({ "token": token }));
        client.send(&connect).await?;
        loop {
            let packet = client.packet().await?;
            if let Some(refused) = packet.strip_prefix("44") {
                let refused: Value = serde_json::from_str(refused).map_err(|_| Failed::Broken)?;
                return Err(Failed::Refused(refused["message"].to_string()));
            }
            if packet.starts_with("42[\"ready\"") {
                return Ok(client);
            }
        }
    }

    /// The next event, while pings are answered.
    pub(crate) async fn event(&mut self) -> Result<(String, Value), Failed> {
        loop {
            let packet = self.packet().await?;
            if let Some(event) = packet.strip_prefix("42") {
                let event: Value = serde_json::from_str(event).map_err(|_| Failed::Broken)?;
                let name = event[0].as_str().unwrap_or_default().to_owned();
                return Ok((name, event[1].clone()));
            }
        }
    }

    /// Without waiting for an answer.
    pub(crate) async fn say(&mut self, event: &str, payload: Value) -> Result<(), Failed> {
        self.send(&format!("42{}", json!([event, payload]))).await
    }

    /// Emits, and reads until the answer has come; events in between are lost.
    pub(crate) async fn ask(&mut self, event: &str, payload: Value) -> Result<Value, Failed> {
        self.send(&format!("421{}", json!([event, payload])))
            .await?;
        loop {
            if let Some(answer) = self.packet().await?.strip_prefix("431") {
                let answer: Value = serde_json::from_str(answer).map_err(|_| Failed::Broken)?;
                return Ok(answer[0].clone());
            }
        }
    }

    /// Takes some bytes off the wire and does nothing about them.
    pub(crate) async fn sip(&mut self) {
        let mut bytes = vec![0; 16 * 1024];
        // Whatever comes, or the end.
        drop(self.socket.get_mut().read(&mut bytes).await);
    }

    async fn packet(&mut self) -> Result<String, Failed> {
        loop {
            let next = tokio::time::timeout(self.patience, self.socket.next()).await;
            let message = next.ok().flatten().ok_or(Failed::Broken)??;
            let Message::Text(text) = message else {
                continue;
            };
            if let Some(open) = text.strip_prefix('0') {
                let open: Value = serde_json::from_str(open).map_err(|_| Failed::Broken)?;
                let [interval, timeout] =
                    ["pingInterval", "pingTimeout"].map(|name| open[name].as_u64());
                let told = interval.zip(timeout).ok_or(Failed::Broken)?;
                self.patience = Duration::from_millis(told.0 + told.1);
                continue;
            }
            match text.as_str() {
                "2" => self.send("3").await?,
                "41" => return Err(Failed::Broken),
                packet => return Ok(packet.to_owned()),
            }
        }
    }

    async fn send(&mut self, packet: &str) -> Result<(), Failed> {
        Ok(self.socket.send(Message::text(packet)).await?)
    }

    /// Leaves as the stock client's `disconnect()` does.
    pub(crate) async fn leave(mut self) {
        // It may be gone already; then it has left.
        self.send("41").await.unwrap_or(());
        drop(self.socket.close(None).await);
    }

    /// Is gone as a killed app is: the system closes what it had open.
    pub(crate) fn die(self) {
        drop(self);
    }

    /// Is gone with a reset, as from a middlebox.
    pub(crate) fn reset(self) {
        self.socket.get_ref().set_zero_linger().unwrap_or(());
    }
}
