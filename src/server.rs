//! The listener, its socket options and HTTP limits, the signals.
//!
//! An accept loop of our own, since `axum::serve` sets no header timeout, no Nagle off, no cap and a
//! backlog of 1,024, at which a storm of reconnects costs a second (`perf.md` 2).

use crate::socket::line::{Line, OnLine};
use crate::telemetry::metrics::Metrics;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Connections that may wait for `accept`; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 16_384;
/// How long sent data may stay unacknowledged, or a window closed, before the kernel gives up the
/// connection. Without it a reader that vanished in a busy room keeps its socket for minutes.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// What the kernel may hold for one slow reader (it doubles the number); autotuning goes to megabytes.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For the whole body of a request. A polled packet is small; who drips it holds a place.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// File descriptors kept for Firebase, the admin listener, logs and refusals.
const RESERVED_FILES: u64 = 64;
/// Pause after a failed accept, when file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Refusals that may be spoken at the same time; beyond it, and beyond half of the kept descriptors,
/// a refused connection is just closed.
const MAX_REFUSALS: usize = 256;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer that was begun may still take once everything is over.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 11\r\nConnection: close\r\n\r\noverloaded\n";

/// Binds with every option that accepted sockets inherit (Linux copies them at accept).
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// How many connections may be open: `limit`, or where that is 0, what file descriptors allow.
/// The soft limit of the process is raised to its hard limit first.
pub fn connection_limit(limit: usize) -> usize {
    let mut files = getrlimit(Resource::Nofile);
    if files.current != files.maximum {
        let raised = Rlimit {
            current: files.maximum,
            ..files
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            files = raised;
        }
    }
    let allowed = files.current.map_or(Semaphore::MAX_PERMITS, |files| {
        let usable = files.saturating_sub(reserved(files)).max(1);
        usize::try_from(usable).unwrap_or(Semaphore::MAX_PERMITS)
    });
    let wanted = if limit == 0 { allowed } else { limit };
    if wanted > allowed {
        tracing::warn!(
            wanted,
            allowed,
            "LIMIT_CONNECTIONS is above what file descriptors allow; raise `ulimit -n`"
        );
    }
    wanted.min(allowed).min(Semaphore::MAX_PERMITS)
}

/// Of so many file descriptors, those that no connection gets.
fn reserved(files: u64) -> u64 {
    files / 10 + RESERVED_FILES
}

/// Strangers who are refused may not use up what presence needs for its next write.
fn refusal_limit(files: Option<u64>) -> usize {
    let kept = files.map_or(usize::MAX, |files| {
        usize::try_from(reserved(files) / 2).unwrap_or(usize::MAX)
    });
    kept.min(MAX_REFUSALS)
}

/// What a listener grants.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Connections at the same time.
    pub places: usize,
    /// For a write that waits while the client says nothing.
    pub patience: Duration,
}

/// Accepts and serves until `stop`; then accepts no more, and lets requests under way end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    terms: Terms,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(terms.places));
    let refusals = refusal_limit(getrlimit(Resource::Nofile).current);
    let refusals = Arc::new(Semaphore::new(refusals));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let seat = Seat::new(place, Arc::clone(&metrics));
            let line = Arc::new(Line::default());
            let stream = OnLine::new(stream, Arc::clone(&line), terms.patience, seat);
            tasks.spawn(talk((stream, line), router.clone(), stop.clone()));
        } else {
            metrics.tcp_refused.inc();
            if let Ok(turn) = Arc::clone(&refusals).try_acquire_owned() {
                tasks.spawn(refuse(stream, turn));
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// A place among the open connections, held as long as the socket.
struct Seat {
    _place: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Seat {
    fn new(place: OwnedSemaphorePermit, metrics: Arc<Metrics>) -> Self {
        metrics.tcp_connections.inc();
        Self {
            _place: place,
            metrics,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.metrics.tcp_connections.dec();
    }
}

/// Serves one connection's requests. An upgrade takes the socket, with its seat, out of here.
async fn talk(
    (stream, line): (OnLine<TcpStream, Seat>, Arc<Line>),
    router: Router,
    stop: CancellationToken,
) {
    let io = TokioIo::new(stream);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&line));
        router.clone().oneshot(request.map(|body| {
            if body.is_end_stream() {
                Body::empty()
            } else {
                Body::new(TimelyBody::new(body))
            }
        }))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // A long poll of a session that is over may never be answered.
            let last = tokio::time::timeout(LAST_ANSWERS, connection);
            last.await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "connection ended early");
    }
}

/// The body of a request, which fails when it takes longer than [`BODY_TIMEOUT`].
struct TimelyBody {
    body: Incoming,
    end: Pin<Box<Sleep>>,
}

impl TimelyBody {
    fn new(body: Incoming) -> Self {
        let end = Box::pin(tokio::time::sleep(BODY_TIMEOUT));
        Self { body, end }
    }
}

impl HttpBody for TimelyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        ready!(self.end.as_mut().poll(cx));
        Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Says 503 and hears the request out, so that the answer is not lost to a reset.
async fn refuse(mut stream: TcpStream, _turn: OwnedSemaphorePermit) {
    let spoken = tokio::time::timeout(REFUSAL_TIMEOUT, async {
        let mut ignored = [0; 1024];
        // An answer before the question is a broken connection to clients (hyper's among them).
        if stream.read(&mut ignored).await? == 0 {
            return Ok(());
        }
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await?;
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    });
    if let Ok(Err(error)) = spoken.await {
        tracing::trace!(%error, "refused connection went away");
    }
}

/// Resolves at the first SIGTERM or SIGINT (Fly sends the latter). Both ask for an orderly end.
pub async fn asked_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The options of a bound or accepted socket, for tests.
pub fn options(socket: &impl std::os::fd::AsFd) -> io::Result<(bool, Option<Duration>, usize)> {
    let socket = SockRef::from(socket);
    Ok((
        socket.tcp_nodelay()?,
        socket.tcp_user_timeout()?,
        socket.send_buffer_size()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn accepted_sockets_inherit_every_option() {
        let listener = bind(loopback()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, _client) = tokio::join!(listener.accept(), client);
        let (nodelay, user_timeout, send_buffer) = options(&accepted.unwrap().0).unwrap();
        assert!(nodelay);
        assert_eq!(user_timeout, Some(USER_TIMEOUT));
        assert_eq!(send_buffer, SEND_BUFFER_BYTES * 2, "Linux doubles it");
    }

    #[tokio::test]
    async fn beyond_the_cap_the_answer_is_503_and_a_freed_place_is_used_again() {
        let listener = bind(loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::new());
        let router = Router::new().route("/", axum::routing::get(|| async { "welcome" }));
        let serving = tokio::spawn(serve(
            listener,
            router,
            Terms {
                places: 1,
                patience: Duration::from_secs(30),
            },
            Arc::clone(&metrics),
            stop.clone(),
        ));
        let ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let read_some = async |stream: &mut TcpStream| {
            let mut heard = vec![0; 512];
            let length = stream.read(&mut heard).await.unwrap();
            String::from_utf8(heard[..length].to_vec()).unwrap()
        };
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(ask).await.unwrap();
        assert!(read_some(&mut first).await.starts_with("HTTP/1.1 200"));
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(ask).await.unwrap();
        assert!(read_some(&mut second).await.starts_with("HTTP/1.1 503"));
        assert_eq!(metrics.tcp_refused.get(), 1);
        drop(first);
        loop {
            let mut third = TcpStream::connect(address).await.unwrap();
            third.write_all(ask).await.unwrap();
            if read_some(&mut third).await.starts_with("HTTP/1.1 200") {
                break;
            }
        }
        stop.cancel();
        serving.await.unwrap();
        assert_eq!(metrics.tcp_connections.get(), 0);
    }

    #[test]
    fn a_limit_is_never_above_what_files_allow() {
        assert_eq!(connection_limit(10), 10);
        assert!(connection_limit(usize::MAX) <= connection_limit(0));
    }

    #[test]
    fn refusals_leave_half_of_the_kept_files_to_others() {
        assert_eq!(refusal_limit(Some(160)), 40);
        assert_eq!(refusal_limit(Some(20_000)), MAX_REFUSALS);
        assert_eq!(refusal_limit(None), MAX_REFUSALS);
    }
}
