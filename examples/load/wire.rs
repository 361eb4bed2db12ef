//! A small Socket.IO client over raw WebSocket frames, cheap enough to hold thousands of connections.
//!
//! It speaks what the measurement needs and nothing more: one text frame per packet, masked with the
//! key zero (RFC 6455 lets the client choose any key), answers to Engine.IO pings, and one read buffer
//! for the whole thread. A connection that is between two frames owns no buffer.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long one connection may take from SYN to its `join_chat` ack.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// The largest piece read at once, and so the largest frame understood.
const SCRATCH_SIZE_BYTES: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_SIZE_BYTES]);
}

/// What one connection says when it opens.
pub(crate) struct Seat {
    pub(crate) token: Rc<str>,
    pub(crate) chat: String,
}

/// The writing half: may be held by others who want this connection to say something.
pub(crate) struct Link {
    stream: TcpStream,
    /// What the kernel did not take yet; the reader sends it on.
    unsent: RefCell<Vec<u8>>,
    wake: Notify,
}

impl Link {
    /// Sends a frame now, or leaves the rest to the reader when the kernel's buffer is full.
    pub(crate) fn send(&self, frame: &[u8]) {
        let mut unsent = self.unsent.borrow_mut();
        let sent = if unsent.is_empty() {
            self.stream.try_write(frame).unwrap_or(0)
        } else {
            0
        };
        if sent < frame.len() {
            unsent.extend_from_slice(&frame[sent..]);
            self.wake.notify_one();
        }
    }

    fn flush(&self) -> Result<()> {
        let mut unsent = self.unsent.borrow_mut();
        while !unsent.is_empty() {
            match self.stream.try_write(&unsent) {
                Ok(sent) => drop(unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// One connection: joined to its chat once [`Conn::open`] returned it.
pub(crate) struct Conn {
    pub(crate) link: Rc<Link>,
    /// The beginning of a frame whose end has not arrived.
    rest: Vec<u8>,
    /// Whether `rest` came with the handshake and was not looked at yet.
    unread: bool,
}

impl Conn {
    /// Connects, shows the token, and joins the chat; `ready` says whether the server greets with it.
    pub(crate) async fn open(addr: SocketAddr, seat: &Seat, ready: bool) -> Result<Self> {
        timeout(OPEN_DEADLINE, Self::open_unbounded(addr, seat, ready))
            .await
            .context("no join ack in time")?
    }

    async fn open_unbounded(addr: SocketAddr, seat: &Seat, ready: bool) -> Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let link = Rc::new(Link {
            stream,
            unsent: RefCell::default(),
            wake: Notify::new(),
        });
        let mut conn = Self {
            link,
            rest: Vec::new(),
            unread: false,
        };
        conn.upgrade(addr).await?;
        let chat = &seat.chat;
        let join = frame(&format!("420[\"join_chat\",{{\"chatId\":\"{chat}\"}}]"));
        let connect = frame(&format!("40{{\"token\":\"{}\"}}", seat.token));
        let (mut joined, mut greeted) = (false, !ready);
        while !(joined && greeted) {
            let link = Rc::clone(&conn.link);
            let mut refused = None;
            conn.read(|packet| match packet {
                [b'0', ..] => link.send(&connect),
                [b'4', b'0', ..] => link.send(&join),
                [b'4', b'3', b'0', ack @ ..] => {
                    joined = true;
                    if !contains(ack, b"\"ok\":true") {
                        refused = Some(packet.to_vec());
                    }
                }
                [b'4', b'2', event @ ..] if event.starts_with(b"[\"ready\"") => greeted = true,
                [b'4', b'4' | b'1', ..] => refused = Some(packet.to_vec()),
                _ => {}
            })
            .await?;
            if let Some(packet) = refused {
                bail!("the server refused: {}", String::from_utf8_lossy(&packet));
            }
        }
        Ok(conn)
    }

    async fn upgrade(&mut self, addr: SocketAddr) -> Result<()> {
        // The headers of okhttp, the WebSocket client under socket.io-client-java.
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\nHost: {addr}\r\n\
             Accept-Encoding: gzip\r\nUser-Agent: okhttp/4.12.0\r\n\r\n"
        );
        self.link.send(request.as_bytes());
        let mut head = Vec::with_capacity(512);
        let end = loop {
            self.link.stream.readable().await?;
            match self.link.stream.try_read_buf(&mut head) {
                Ok(0) => bail!("closed during the handshake"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        ensure!(
            head.starts_with(b"HTTP/1.1 101"),
            "no upgrade: {}",
            String::from_utf8_lossy(&head[..end])
        );
        self.rest = head.split_off(end);
        self.unread = !self.rest.is_empty();
        Ok(())
    }

    /// Waits for bytes and hands every complete Engine.IO packet to `each`; answers pings itself.
    pub(crate) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        if std::mem::take(&mut self.unread) {
            let early = std::mem::take(&mut self.rest);
            let used = packets(&early, &self.link, &mut each)?;
            self.rest.extend_from_slice(&early[used..]);
            if used > 0 {
                return Ok(());
            }
        }
        loop {
            let pending = !self.link.unsent.borrow().is_empty();
            let interest = if pending {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            tokio::select! {
                biased;
                ready = self.link.stream.ready(interest) => {
                    if ready?.is_writable() {
                        self.link.flush()?;
                    }
                }
                () = self.link.wake.notified() => continue,
            }
            if self.read_once(&mut each)? {
                return Ok(());
            }
        }
    }

    fn read_once(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        SCRATCH.with_borrow_mut(|scratch| {
            let kept = self.rest.len();
            scratch[..kept].copy_from_slice(&self.rest);
            match self.link.stream.try_read(&mut scratch[kept..]) {
                Ok(0) => bail!("closed by the server"),
                Ok(read) => {
                    let used = packets(&scratch[..kept + read], &self.link, each)?;
                    let rest = &scratch[used..kept + read];
                    // A connection at rest keeps no buffer: the generator holds ten thousand.
                    self.rest = if rest.is_empty() {
                        Vec::new()
                    } else {
                        rest.to_vec()
                    };
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Answers pings and drops everything else, for as long as the connection lives.
    pub(crate) async fn idle(mut self) -> Result<()> {
        loop {
            self.read(|_| {}).await?;
        }
    }

    /// Ends the connection the way a lost network does in the end: by a reset, which also frees the port.
    pub(crate) fn cut(self) -> Result<()> {
        Ok(self.link.stream.set_zero_linger()?)
    }
}

/// One masked text frame that carries `text`.
pub(crate) fn frame(text: &str) -> Vec<u8> {
    let mut frame = Vec::with_capacity(text.len() + 14);
    frame.push(0x81);
    match u16::try_from(text.len()) {
        Ok(len @ 0..=125) => frame.push(0x80 | len.to_be_bytes()[1]),
        Ok(len) => {
            frame.push(0xfe);
            frame.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => {
            frame.push(0xff);
            frame.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Hands the packets in `bytes` to `each` and returns how many bytes they took.
fn packets(bytes: &[u8], link: &Link, each: &mut impl FnMut(&[u8])) -> Result<usize> {
    let mut at = 0;
    while let Some((opcode, start, end)) = header(&bytes[at..])? {
        let payload = &bytes[at + start..at + end];
        at += end;
        match (opcode, payload) {
            (0x1, [b'2', rest @ ..]) => {
                let pong = [b"3", rest].concat();
                link.send(&frame(std::str::from_utf8(&pong)?));
            }
            (0x1, closing) if closing.starts_with(b"42[\"closing\"") => {
                bail!("the server said: {}", String::from_utf8_lossy(closing));
            }
            (0x1, packet) => each(packet),
            (0x8, _) => bail!("closed by the server with a close frame"),
            _ => {}
        }
    }
    Ok(at)
}

/// The opcode of the first frame, and where its payload starts and ends; nothing while it is incomplete.
fn header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>> {
    let (start, len) = match bytes {
        [_, len @ 0..=125, ..] => (2, usize::from(*len)),
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [_, 127, ..] => bail!("the server sent a frame above 64 KiB"),
        [_, 128..=255, ..] => bail!("the server sent a masked frame"),
        _ => return Ok(None),
    };
    let end = start + len;
    if end > SCRATCH_SIZE_BYTES {
        return Err(anyhow!("the server sent a frame above the read buffer"));
    }
    Ok((bytes.len() >= end).then_some((bytes[0] & 0x0f, start, end)))
}

pub(crate) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    find(hay, needle).is_some()
}

/// Where `needle` begins in `hay`.
pub(crate) fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len())
        .position(|window| window == needle)
}
