//! A database by the script: a bare HTTP/1.1 server on a free loopback port that answers each
//! request with the next line of its script, and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How one request is answered. When the script is over: with 200 and `null`.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Status, extra header lines, body.
    Say(u16, &'static str, String),
    /// A whole head, then less body than it promises.
    CutShort(u16),
    /// A whole head, and the body never comes.
    Dawdle(u16),
    /// The request is read, and nothing ever comes.
    Hang,
    /// The request is read, then the connection is torn down.
    Reset,
}

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) authorization: String,
    /// Header lines about the tag of the place, in lower case but for their values.
    pub(super) tag: Vec<String>,
    pub(super) body: String,
}

#[derive(Clone)]
pub(super) struct Script {
    pub(super) address: SocketAddr,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

pub(super) fn say(status: u16, body: &str) -> Reply {
    Reply::Say(status, "", body.to_owned())
}

impl Script {
    pub(super) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script = Self {
            address: listener.local_addr().unwrap(),
            replies: Arc::new(Mutex::new(replies.into_iter().collect())),
            asked: Arc::default(),
        };
        let server = script.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        script
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut buffer = Vec::new();
        loop {
            let asked = read_request(&mut stream, &mut buffer).await?;
            self.asked.lock().unwrap().push(asked);
            let reply = self.replies.lock().unwrap().pop_front();
            match reply.unwrap_or_else(|| say(200, "null")) {
                Reply::Say(status, headers, body) => {
                    let head = format!("HTTP/1.1 {status} x\r\n{headers}");
                    let length = match status {
                        204 => "\r\n".to_owned(),
                        _ => format!("content-length: {}\r\n\r\n", body.len()),
                    };
                    stream
                        .write_all((head + &length + &body).as_bytes())
                        .await
                        .ok()?;
                }
                Reply::CutShort(status) => {
                    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 99\r\n\r\n{{\"a");
                    stream.write_all(head.as_bytes()).await.ok()?;
                    return None;
                }
                Reply::Dawdle(status) => {
                    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 99\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.ok()?;
                    hold(stream).await;
                    return None;
                }
                Reply::Hang => {
                    hold(stream).await;
                    return None;
                }
                Reply::Reset => {
                    stream.set_zero_linger().ok()?;
                    return None;
                }
            }
        }
    }
}

/// Keeps the connection until the other side gives up.
async fn hold(mut stream: TcpStream) {
    let mut rest = [0; 64];
    let patience = Duration::from_mins(1);
    let _ended = tokio::time::timeout(patience, stream.read(&mut rest)).await;
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some((asked, length)) = parse(buffer) {
            buffer.drain(..length);
            return Some(asked);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The first request in `buffer` and its length, once it is whole.
fn parse(buffer: &[u8]) -> Option<(Asked, usize)> {
    let text = std::str::from_utf8(buffer).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        let mut lines = head.lines().skip(1).filter_map(|l| l.split_once(": "));
        lines
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").map_or(0, |l| l.parse().unwrap());
    let body = rest.get(..length)?.to_owned();
    let asked = Asked {
        line: head
            .lines()
            .next()?
            .trim_end_matches(" HTTP/1.1")
            .to_owned(),
        authorization: header("authorization").unwrap_or_default(),
        tag: ["x-firebase-etag", "if-match"]
            .iter()
            .filter_map(|name| Some(format!("{name}: {}", header(name)?)))
            .collect(),
        body,
    };
    Some((asked, head.len() + 4 + length))
}
