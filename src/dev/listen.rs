//! The accept loop of the stand-ins: loopback only, connections counted, and a way to reset one.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// More wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1024;
/// After a failed accept, which at worst means that there are no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For the open exchanges when the end has come.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// How many connections were accepted, and how many of them are open.
#[derive(Debug, Default)]
pub(super) struct ConnectionCount {
    opened: AtomicU64,
    closed: AtomicU64,
}

impl ConnectionCount {
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    pub(super) fn open(&self) -> u64 {
        self.opened()
            .saturating_sub(self.closed.load(Ordering::SeqCst))
    }
}

/// The connection a request came on; found in the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// In the order of arrival, from 1.
    pub(super) number: u64,
    reset: Arc<AtomicBool>,
    end: CancellationToken,
}

impl Connection {
    /// Ends the connection with a TCP reset instead of an answer.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
        self.end.cancel();
    }

    /// Holds the exchange open without an answer until its client, or the stand-in, ends.
    pub(super) async fn hang(&self) -> Response {
        // At the end there is no orderly close to wait for.
        self.reset.store(true, Ordering::SeqCst);
        std::future::pending().await
    }

    /// Resolves when the connection is to end.
    pub(super) async fn ended(&self) {
        self.end.cancelled().await;
    }
}

/// Serves `router` until `shutdown`; then open exchanges get [`END_TIMEOUT`].
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    count: Arc<ConnectionCount>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    if !listener.local_addr()?.ip().is_loopback() {
        return Err(io::Error::other("the stand-ins listen on loopback only"));
    }
    let router = guard(router);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    let accept = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            // A failed accept concerns one connection, or lasts until others have closed.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let connection = Connection {
                number: count.opened.fetch_add(1, Ordering::SeqCst) + 1,
                reset: Arc::default(),
                end: shutdown.child_token(),
            };
            let (router, count) = (router.clone(), Arc::clone(&count));
            tasks.spawn(async move {
                exchange(stream, connection, router).await;
                count.closed.fetch_add(1, Ordering::SeqCst);
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown.cancelled() => {}
    }
    tasks.close();
    // The listener closes first, so that nobody queues behind the end.
    drop(listener);
    tasks.wait().await;
    Ok(())
}

async fn exchange(stream: TcpStream, connection: Connection, router: Router) {
    let reset = Arc::clone(&connection.reset);
    let end = connection.end.clone();
    // Small answers must not wait for the acknowledgement of earlier ones.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let stream = Resettable {
        stream,
        reset: Arc::clone(&reset),
    };
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        router.clone().oneshot(request)
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // A broken connection concerns its client, who notices.
        _ = serving.as_mut() => return,
        () = end.cancelled() => {}
    }
    if !reset.load(Ordering::SeqCst) {
        serving.as_mut().graceful_shutdown();
        drop(tokio::time::timeout(END_TIMEOUT, serving).await);
    }
}

/// A stream that, when asked, ends with a reset: zero linger, then close.
struct Resettable {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.reset.load(Ordering::SeqCst) {
            let socket = socket2::SockRef::from(&self.stream);
            // Without it the close is an orderly one: still the end of the exchange.
            drop(socket.set_linger(Some(Duration::ZERO)));
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Keeps out pages of other sites: a browser on this machine reaches loopback for any page it shows.
fn guard(router: Router) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(|origin, _| {
            origin.to_str().is_ok_and(is_loopback_origin)
        }))
        .allow_methods(tower_http::cors::AllowMethods::mirror_request())
        .allow_headers(tower_http::cors::AllowHeaders::mirror_request())
        .expose_headers([header::ETAG]);
    let local_only =
        axum::middleware::from_fn(async |request: Request, next: axum::middleware::Next| {
            if is_foreign(request.headers()) {
                let text = "the stand-ins answer this machine's own pages only\n";
                return (StatusCode::FORBIDDEN, text).into_response();
            }
            let response: Response = next.run(request).await;
            response
        });
    router.layer(cors).layer(local_only)
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let foreign_host = text(header::HOST).is_some_and(|host| !is_loopback_host(host));
    foreign_host || text(header::ORIGIN).is_some_and(|origin| !is_loopback_origin(origin))
}

fn is_loopback_origin(origin: &str) -> bool {
    let host = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(is_loopback_host)
}

/// `host` or `host:port` that can only mean this machine.
fn is_loopback_host(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) | None => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in [
            "localhost",
            "localhost:3000",
            "127.0.0.1:9",
            "[::1]:80",
            "x.localhost:1",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com:80",
            "10.0.0.1",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
        assert!(is_loopback_origin("http://127.0.0.1:3000"));
        assert!(!is_loopback_origin("null"));
        assert!(!is_loopback_origin("http://evil.example"));
    }
}
