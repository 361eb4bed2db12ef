//! Between HTTP and socketioxide: who may knock, and how little is remembered of the knock.

use super::auth::Refusals;
use super::line::Line;
use super::{Live, PATH};
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header,
};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use socketioxide_core::Sid;
use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// What is read of a head behind the door: engineioxide wants the key of a handshake (`transport/ws.rs`).
const KEPT_OF_UPGRADES: &[HeaderName] = &[header::SEC_WEBSOCKET_KEY];
/// And HTTP wants to know where a posted body ends.
const KEPT_OF_OTHERS: &[HeaderName] = &[
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// Web pages that may use the bridge. Apps send no `Origin` and are not concerned.
#[derive(Clone, Debug)]
pub enum Origins {
    Any,
    Only(HashSet<String>),
}

/// Guards the way to socketioxide.
#[derive(Clone)]
pub struct Door {
    pub origins: Arc<Origins>,
    pub live: Arc<Live>,
}

impl<S> Layer<S> for Door {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            door: self.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    door: Door,
}

type Answer<F, E> = futures_util::future::Either<F, std::future::Ready<Result<Response<Body>, E>>>;

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !request.uri().path().starts_with(PATH) {
            return Answer::Left(self.inner.call(request));
        }
        match self.door.check(&request) {
            Ok(()) => Answer::Left(self.inner.call(self.door.shrink(request))),
            Err((status, why)) => {
                let mut answer = Response::new(Body::from(why));
                *answer.status_mut() = status;
                Answer::Right(std::future::ready(Ok(answer)))
            }
        }
    }
}

impl Door {
    fn check<B>(&self, request: &Request<B>) -> Result<(), (StatusCode, &'static str)> {
        if query(request.uri()).any(|pair| pair.starts_with("token=") || pair.starts_with("auth="))
        {
            // Query strings end up in the logs of every proxy on the way.
            return Err((
                StatusCode::BAD_REQUEST,
                "send the token in the handshake's auth object, never in the URL",
            ));
        }
        let origin = request.headers().get(header::ORIGIN);
        match (&*self.origins, origin) {
            (Origins::Any, _) | (_, None) => Ok(()),
            (Origins::Only(allowed), Some(origin)) => {
                let known = origin
                    .to_str()
                    .is_ok_and(|origin| allowed.contains(origin) || is_own(origin, request));
                if known {
                    Ok(())
                } else {
                    Err((StatusCode::FORBIDDEN, "this origin is not in CORS_ORIGINS"))
                }
            }
        }
    }

    /// The same request with a head of its own.
    ///
    /// engineioxide keeps the head as long as the session, and its parts are slices of hyper's read
    /// buffer: sixteen KiB for each idle connection (`perf.md` 1).
    fn shrink<B>(&self, request: Request<B>) -> Request<B> {
        let (mut parts, body) = request.into_parts();
        let upgrade = is_upgrade(&parts);
        let kept = if upgrade {
            KEPT_OF_UPGRADES
        } else {
            KEPT_OF_OTHERS
        };
        let found = kept.iter().filter(|name| parts.headers.contains_key(*name));
        let mut headers = HeaderMap::with_capacity(found.count());
        for name in kept {
            if let Some(value) = parts.headers.get(name)
                && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
            {
                headers.insert(name, value);
            }
        }
        parts.headers = headers;
        // The router has left what only it needs.
        let mut extensions = Extensions::new();
        extensions.insert(Arc::new(Refusals::default()));
        if let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() {
            extensions.insert(upgrade);
        }
        // A connection that carries polls may carry those of many sessions, behind a proxy of many people.
        if upgrade && let Some(line) = parts.extensions.remove::<Arc<Line>>() {
            self.note_move(&parts.uri, &line);
            extensions.insert(line);
        }
        parts.extensions = extensions;
        if let Some(path) = parts.uri.path_and_query()
            && let Ok(uri) =
                Uri::from_maybe_shared(Bytes::copy_from_slice(path.as_str().as_bytes()))
        {
            parts.uri = uri;
        }
        Request::from_parts(parts, body)
    }

    /// A session that moves from polling to a WebSocket has a line of its own from here on.
    fn note_move(&self, uri: &Uri, line: &Arc<Line>) {
        let sid = query(uri).find_map(|pair| pair.strip_prefix("sid="));
        if let Some(sid) = sid.and_then(|sid| Sid::from_str(sid).ok()) {
            self.live.moved(sid, line);
        }
    }
}

/// Will engineioxide take it for a WebSocket (`service/parser.rs`, `transport/ws.rs`)?
fn is_upgrade(parts: &Parts) -> bool {
    parts.headers.contains_key(header::SEC_WEBSOCKET_KEY)
        && query(&parts.uri).any(|pair| pair == "transport=websocket")
}

fn query(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().unwrap_or_default().split('&')
}

/// A page served by the bridge itself (the demo) has the bridge's own host as its origin.
fn is_own<B>(origin: &str, request: &Request<B>) -> bool {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let origin_host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    host.is_some() && origin_host == host
}
