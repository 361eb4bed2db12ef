//! A raw Socket.IO client: what goes over the wire is visible here, nothing is retried or hidden.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

/// Generous: a test that waits this long has failed, however busy the machine is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

type Acks = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// One event as it came: name, payload, and the packet itself.
struct Heard {
    event: String,
    payload: Value,
    packet: String,
}

pub(crate) struct Phone {
    out: mpsc::Sender<Message>,
    events: mpsc::Receiver<Heard>,
    /// Events taken from the wire while another was awaited, in order.
    waiting: Vec<Heard>,
    acks: Acks,
    last_ack: u64,
    pub sid: String,
}

/// Awaits with a deadline; names what was awaited.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(DEADLINE, future).await;
    done.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

impl Phone {
    /// Connects and waits for `ready`; a refusal is the code of `connect_error`.
    pub(crate) async fn connect(bridge: SocketAddr, token: &str) -> Result<Self, String> {
        let mut phone = Self::handshake(bridge, json!({ "token": token })).await?;
        phone.hear("ready").await;
        Ok(phone)
    }

    /// Everything up to the answer to CONNECT.
    pub(crate) async fn handshake(bridge: SocketAddr, auth: Value) -> Result<Self, String> {
        let url = format!("ws://{bridge}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = soon("the upgrade", tokio_tungstenite::connect_async(url))
            .await
            .unwrap();
        let (mut sink, mut stream) = socket.split();
        let opened = text(
            soon("the open packet", stream.next())
                .await
                .unwrap()
                .unwrap(),
        );
        assert!(opened.starts_with('0'), "not an open packet: {opened}");
        sink.send(Message::text(format!("40{auth}"))).await.unwrap();
        let answer = loop {
            let packet = text(
                soon("the answer to CONNECT", stream.next())
                    .await
                    .unwrap()
                    .unwrap(),
            );
            if packet == "2" {
                sink.send(Message::text("3")).await.unwrap();
            } else {
                break packet;
            }
        };
        if let Some(refused) = answer.strip_prefix("44") {
            let refused: Value = serde_json::from_str(refused).unwrap();
            return Err(refused["message"].as_str().unwrap().to_owned());
        }
        let connected: Value = serde_json::from_str(answer.strip_prefix("40").unwrap()).unwrap();
        let sid = connected["sid"].as_str().unwrap().to_owned();
        let (out, mut outgoing) = mpsc::channel::<Message>(1024);
        let (heard, events) = mpsc::channel(65_536);
        let acks = Acks::default();
        tokio::spawn(async move {
            while let Some(message) = outgoing.recv().await {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            drop(sink.close().await);
        });
        tokio::spawn(read(stream, out.clone(), heard, Arc::clone(&acks)));
        Ok(Self {
            out,
            events,
            waiting: Vec::new(),
            acks,
            last_ack: 0,
            sid,
        })
    }

    /// Emits without asking for an acknowledgement.
    pub(crate) async fn say(&mut self, event: &str, payload: Value) {
        self.raw(format!("42{}", json!([event, payload]))).await;
    }

    /// Emits, and returns the acknowledgement still under way.
    pub(crate) async fn begin(&mut self, event: &str, payload: Value) -> oneshot::Receiver<Value> {
        self.last_ack += 1;
        let (answer, answered) = oneshot::channel();
        self.acks.lock().unwrap().insert(self.last_ack, answer);
        self.raw(format!("42{}{}", self.last_ack, json!([event, payload])))
            .await;
        answered
    }

    /// Emits and awaits the acknowledgement.
    pub(crate) async fn ask(&mut self, event: &str, payload: Value) -> Value {
        let answered = self.begin(event, payload).await;
        soon(event, answered)
            .await
            .unwrap_or_else(|_| panic!("connection ended before the answer to {event}"))
    }

    pub(crate) async fn join(&mut self, chat: &str) -> Value {
        let answer = self.ask("join_chat", json!({ "chatId": chat })).await;
        assert_eq!(answer["ok"], true, "{answer}");
        answer["presence"].clone()
    }

    pub(crate) async fn raw(&mut self, packet: String) {
        self.out.send(Message::text(packet)).await.unwrap();
    }

    /// The next event of this name; earlier others stay for later.
    pub(crate) async fn hear(&mut self, name: &str) -> Value {
        self.next(name).await.payload
    }

    /// The same, as the packet that came.
    pub(crate) async fn hear_raw(&mut self, name: &str) -> String {
        self.next(name).await.packet
    }

    async fn next(&mut self, name: &str) -> Heard {
        if let Some(place) = self.waiting.iter().position(|heard| heard.event == name) {
            return self.waiting.remove(place);
        }
        loop {
            let heard = soon(name, self.events.recv()).await;
            let heard =
                heard.unwrap_or_else(|| panic!("connection ended, still waiting for {name}"));
            if heard.event == name {
                return heard;
            }
            self.waiting.push(heard);
        }
    }

    /// Everything heard up to now, after one more round trip: what the bridge had sent is in it.
    pub(crate) async fn heard(&mut self) -> Vec<(String, Value)> {
        self.ask("app_state", json!({ "state": "foreground" }))
            .await;
        while let Ok(heard) = self.events.try_recv() {
            self.waiting.push(heard);
        }
        self.taken()
    }

    /// Awaits the end of the connection and returns what was heard before it.
    pub(crate) async fn ended(&mut self) -> Vec<(String, Value)> {
        while let Some(heard) = soon("the end of the connection", self.events.recv()).await {
            self.waiting.push(heard);
        }
        self.taken()
    }

    fn taken(&mut self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|heard| (heard.event, heard.payload))
            .collect()
    }

    /// Leaves in order.
    pub(crate) async fn leave(mut self) {
        self.raw("41".to_owned()).await;
    }
}

type Stream = futures_util::stream::SplitStream<
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
>;

async fn read(
    mut stream: Stream,
    out: mpsc::Sender<Message>,
    heard: mpsc::Sender<Heard>,
    acks: Acks,
) {
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(_) = message else { continue };
        let packet = text(message);
        if packet == "2" {
            drop(out.send(Message::text("3")).await);
        } else if packet == "41" {
            break;
        } else if let Some(event) = packet.strip_prefix("42") {
            // A number may be one that only the raw packet can tell (1e400).
            let parsed: Value = serde_json::from_str(event).unwrap_or_default();
            let name = event.split('"').nth(1).unwrap_or_default().to_owned();
            let payload = parsed.get(1).cloned().unwrap_or_default();
            let told = Heard {
                event: name,
                payload,
                packet: packet.clone(),
            };
            drop(heard.send(told).await);
        } else if let Some(answer) = packet.strip_prefix("43") {
            let body = answer.find('[').unwrap();
            let id: u64 = answer[..body].parse().unwrap();
            let answer: Value = serde_json::from_str(&answer[body..]).unwrap();
            if let Some(waiting) = acks.lock().unwrap().remove(&id) {
                drop(waiting.send(answer[0].clone()));
            }
        }
    }
    acks.lock().unwrap().clear();
}

fn text(message: Message) -> String {
    message.into_text().unwrap().as_str().to_owned()
}
