//! The yardstick: the leanest server that socketioxide allows without changing it.
//!
//! Handlers run inline in the reader task (no task per event), the request head is copied so that
//! hyper's 16 KiB read buffer can go, the WebSocket read buffer is 512 bytes, Nagle is off and the
//! accept backlog is large. It checks no token, keeps no presence, limits nothing.

use anyhow::Result;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::Service as _;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use presence_bridge::clock::Clock;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use socketioxide::SocketIo;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, SocketRef};
use socketioxide::handler::{ConnectHandler as _, FromMessageParts as _, MessageHandler, Value};
use socketioxide::socket::Socket;
use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Asked of the kernel, which caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 16_384;

/// Serves on `addr` until the process is killed.
pub(crate) fn serve(addr: SocketAddr) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(accept(addr))
}

async fn accept(addr: SocketAddr) -> Result<()> {
    let (service, io) = SocketIo::builder()
        .ws_read_buffer_size(512)
        .ping_interval(Duration::from_secs(20))
        .ping_timeout(Duration::from_secs(15))
        .build_svc();
    io.ns("/", nothing.with(register));

    let socket = RawSocket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let service = service.clone();
        tokio::spawn(async move {
            let copied = hyper::service::service_fn(move |request: Request<Incoming>| {
                let service = service.clone();
                async move { service.call(copy_head(request)).await }
            });
            stream.set_nodelay(true).ok();
            // A client that goes away during its request is no event for a load test.
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), copied)
                .with_upgrades()
                .await
                .ok();
        });
    }
}

/// The same request with a head of its own: socketioxide keeps the head for the life of the connection,
/// and its values are slices of hyper's read buffer.
fn copy_head(request: Request<Incoming>) -> Request<Incoming> {
    let (mut parts, body) = request.into_parts();
    if let Ok(uri) = parts.uri.to_string().parse::<Uri>() {
        parts.uri = uri;
    }
    let mut headers = HeaderMap::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        let copied = (
            HeaderName::from_bytes(name.as_str().as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        );
        if let (Ok(name), Ok(value)) = copied {
            headers.append(name, value);
        }
    }
    parts.headers = headers;
    Request::from_parts(parts, body)
}

/// Registers the handlers before CONNECT is answered, so that no event can overtake them.
async fn register(socket: SocketRef) -> Result<(), Infallible> {
    socket.on("join_chat", Join);
    let sender_id = socket.id.to_string();
    socket.on("send_message", Send { sender_id });
    Ok(())
}

async fn nothing(_socket: SocketRef) {}

/// Names our own implementations of [`MessageHandler`]: the trait tells them apart by a type.
struct Inline;

struct Join;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JoinChat {
    chat_id: String,
}

#[derive(Serialize)]
struct Joined {
    ok: bool,
    presence: [(); 0],
}

impl MessageHandler<LocalAdapter, Inline> for Join {
    fn call(&self, socket: Arc<Socket<LocalAdapter>>, mut value: Value, ack_id: Option<i64>) {
        let Ok(ack) = AckSender::from_message_parts(&socket, &mut value, &ack_id);
        let Some((_, JoinChat { chat_id })) = parse(&value) else {
            return;
        };
        socket.join(chat_id);
        let joined = Joined {
            ok: true,
            presence: [],
        };
        ack.send(&joined).ok();
    }
}

struct Send {
    sender_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendMessage<'a> {
    chat_id: String,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewMessage<'a> {
    chat_id: &'a str,
    message: &'a str,
    sender_id: &'a str,
    delivered_at: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    ok: bool,
    delivered_at: u64,
}

impl MessageHandler<LocalAdapter, Inline> for Send {
    fn call(&self, socket: Arc<Socket<LocalAdapter>>, mut value: Value, ack_id: Option<i64>) {
        let Ok(ack) = AckSender::from_message_parts(&socket, &mut value, &ack_id);
        let Some((_, SendMessage { chat_id, message })) = parse(&value) else {
            return;
        };
        let delivered_at = Clock::system().unix().0;
        let event = NewMessage {
            chat_id: &chat_id,
            message: &message,
            sender_id: &self.sender_id,
            delivered_at,
        };
        // With the local adapter the emit is done when it is first polled: nothing to wait for.
        let relayed = SocketRef::from(socket)
            .to(chat_id.clone())
            .emit("new_message", &event);
        relayed.now_or_never();
        ack.send(&Sent {
            ok: true,
            delivered_at,
        })
        .ok();
    }
}

/// The event's name and its one argument.
fn parse<'a, T: Deserialize<'a>>(value: &'a Value) -> Option<(&'a str, T)> {
    serde_json::from_str(value.as_str()?).ok()
}
