//! The TCP connection under an Engine.IO session, and the power to end it.
//!
//! socketioxide can end a namespace but not a transport, and its writer can hang in a flush to a
//! reader that stopped (engineioxide `transport/ws.rs`, `forward_to_socket`). A [`Line`] ends both:
//! [`Line::finish`] ends reading and lets writing go on, [`Line::cut`] fails every write at once.
//! A WebSocket that has read the end of its stream refuses to write (tungstenite `WebSocketState::Terminated`),
//! so whatever shall still be heard must have gone out before: [`Line::written`] tells.
//!
//! engineioxide finds out that a client answers no ping, and then waits for that writer before it tells
//! anybody (`engine.rs`, `close_session`). A reader that takes a little now and then would be online as
//! long as it likes. So a write that waits while the client says nothing cuts the line by itself.

use futures_util::task::AtomicWaker;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

const OPEN: u8 = 0;
const FINISHED: u8 = 1;
const CUT: u8 = 2;
const GONE: u8 = 3;

/// A writer that has not flushed for this long has nothing left in its queue.
const REST: Duration = Duration::from_millis(25);

/// A handle on one TCP connection; travels with its requests as an extension.
#[derive(Debug, Default)]
pub struct Line {
    state: AtomicU8,
    flushes: AtomicU64,
    reader: AtomicWaker,
    writer: AtomicWaker,
    mourner: AtomicWaker,
}

impl Line {
    /// The reader sees the end of the stream; what is queued is still written, then the socket closes.
    pub(crate) fn finish(&self) {
        self.raise(FINISHED);
    }

    /// Reads end and writes fail, those that hang now included.
    pub(crate) fn cut(&self) {
        self.raise(CUT);
    }

    /// The connection is closed and dropped.
    pub(crate) fn is_gone(&self) -> bool {
        self.state() == GONE
    }

    /// How often the writer has handed everything to the system.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    /// Until the writer has flushed since it had done so `before` times, and has come to rest.
    pub(crate) async fn written(&self, before: u64) {
        let mut seen = before;
        loop {
            tokio::time::sleep(REST).await;
            let now = self.flushes();
            if (now == seen && now != before) || self.is_gone() {
                return;
            }
            seen = now;
        }
    }

    /// Until the connection is closed and dropped. One waiter at a time.
    pub(crate) async fn gone(&self) {
        poll_fn(|cx| {
            self.mourner.register(cx.waker());
            if self.is_gone() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn raise(&self, state: u8) {
        self.state.fetch_max(state, Ordering::AcqRel);
        self.reader.wake();
        self.writer.wake();
        self.mourner.wake();
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }
}

/// A stream that obeys its [`Line`]. `guard` lives exactly as long as the stream.
pub struct OnLine<S, G> {
    stream: S,
    line: Arc<Line>,
    /// How long writes may wait while nothing is read.
    patience: Duration,
    /// Began when a write had to wait, and only something read ends it: a writer with a long queue
    /// flushes it in parts.
    waiting: Option<Pin<Box<Sleep>>>,
    _guard: G,
}

impl<S, G> OnLine<S, G> {
    pub fn new(stream: S, line: Arc<Line>, patience: Duration, guard: G) -> Self {
        Self {
            stream,
            line,
            patience,
            waiting: None,
            _guard: guard,
        }
    }
}

impl<S, G> Drop for OnLine<S, G> {
    fn drop(&mut self) {
        self.line.raise(GONE);
    }
}

impl<S: AsyncRead + Unpin, G: Unpin> AsyncRead for OnLine<S, G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.line.state() != OPEN {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_pending() {
            self.line.reader.register(cx.waker());
            // Raised between the check above and the registration: nobody would wake us.
            if self.line.state() != OPEN {
                return Poll::Ready(Ok(()));
            }
        } else if self.waiting.take().is_some() {
            // The client lives: the writer's time begins anew.
            self.line.writer.wake();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin, G: Unpin> OnLine<S, G> {
    fn poll_out<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = poll(Pin::new(&mut self.stream), cx);
        if polled.is_pending() {
            self.line.writer.register(cx.waker());
            if self.line.state() >= CUT {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let patience = self.patience;
            let waiting = self
                .waiting
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            if waiting.as_mut().poll(cx).is_ready() {
                self.line.cut();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin, G: Unpin> AsyncWrite for OnLine<S, G> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_out(cx, |stream, cx| stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_out(cx, |stream, cx| stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.poll_out(cx, AsyncWrite::poll_flush);
        if polled.is_ready() {
            self.line.flushes.fetch_add(1, Ordering::AcqRel);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx, AsyncWrite::poll_shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PATIENCE: Duration = Duration::from_secs(35);

    #[tokio::test]
    async fn finish_ends_reading_and_lets_writing_go_on() {
        let (near, mut far) = tokio::io::duplex(64);
        let line = Arc::new(Line::default());
        let mut stream = OnLine::new(near, Arc::clone(&line), PATIENCE, ());
        let reading = async { stream.read(&mut [0; 8]).await.unwrap() };
        let (read, ()) = tokio::join!(reading, async { line.finish() });
        assert_eq!(read, 0);
        stream.write_all(b"bye").await.unwrap();
        let mut heard = [0; 3];
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"bye");
    }

    #[tokio::test(start_paused = true)]
    async fn written_waits_for_a_flush_and_for_the_rest_after_it() {
        let (near, _far) = tokio::io::duplex(64);
        let line = Arc::new(Line::default());
        let mut stream = OnLine::new(near, Arc::clone(&line), PATIENCE, ());
        stream.flush().await.unwrap();
        let before = line.flushes();
        let early = tokio::time::timeout(REST * 10, line.written(before)).await;
        assert!(early.is_err(), "nothing was flushed since");
        stream.flush().await.unwrap();
        line.written(before).await;
    }

    #[tokio::test]
    async fn cut_fails_a_write_that_hangs() {
        let (near, _far) = tokio::io::duplex(4);
        let line = Arc::new(Line::default());
        let mut stream = OnLine::new(near, Arc::clone(&line), PATIENCE, ());
        let writing = async { stream.write_all(b"more than fits").await };
        let (written, ()) = tokio::join!(writing, async { line.cut() });
        assert_eq!(
            written.unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_waits_cuts_the_line_unless_something_is_heard_meanwhile() {
        let (near, mut far) = tokio::io::duplex(4);
        let line = Arc::new(Line::default());
        let stream = OnLine::new(near, Arc::clone(&line), PATIENCE, ());
        let (mut from, mut to) = tokio::io::split(stream);
        let start = tokio::time::sleep(Duration::ZERO).deadline();
        let writing = tokio::spawn(async move {
            loop {
                let written = async { to.write_all(&[0; 4]).await.and(to.flush().await) };
                if let Err(error) = written.await {
                    return error;
                }
            }
        });
        let reading = tokio::spawn(async move {
            let mut heard = 0;
            while let Ok(1..) = from.read(&mut [0; 1]).await {
                heard += 1;
            }
            heard
        });
        // It says something in time, once; what it takes of the writing counts for nothing.
        for said in [true, false, false] {
            tokio::time::sleep(PATIENCE / 2).await;
            far.read_exact(&mut [0; 4]).await.unwrap();
            if said {
                far.write_all(b"3").await.unwrap();
            }
        }
        let failed = writing.await.unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        let end = tokio::time::sleep(Duration::ZERO).deadline();
        let took = end - start;
        assert!((PATIENCE * 3 / 2..PATIENCE * 2).contains(&took), "{took:?}");
        assert_eq!(reading.await.unwrap(), 1, "reading has ended, too");
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_noticed() {
        let line = Arc::new(Line::default());
        let stream = OnLine::new(tokio::io::duplex(4).0, Arc::clone(&line), PATIENCE, ());
        let ((), ()) = tokio::join!(line.gone(), async { drop(stream) });
    }
}
