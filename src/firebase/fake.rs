//! A scripted HTTP server on port 0: a real stand-in for Google's small endpoints.

use super::fetch::locked;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How the server answers a request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Reply {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Takes the request and never answers.
    Hang,
}

impl Answer {
    pub(super) fn json(body: impl Into<String>) -> Self {
        Self::reply(200, body)
    }

    pub(super) fn reply(status: u16, body: impl Into<String>) -> Self {
        Self::Reply {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub(super) fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Reply {
                status,
                mut headers,
                body,
            } => {
                headers.push((name, value.into()));
                Self::Reply {
                    status,
                    headers,
                    body,
                }
            }
            Self::Hang => Self::Hang,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

#[derive(Clone, Debug)]
pub(super) struct FakeServer {
    /// `host:port`.
    pub(super) authority: String,
    script: Arc<Script>,
}

#[derive(Debug)]
struct Script {
    /// Used one after the other; the last one stays.
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
}

impl FakeServer {
    pub(super) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let script = Arc::new(Script {
            answers: Mutex::new(answers.into_iter().collect()),
            seen: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { authority, script }
    }

    pub(super) fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.authority).parse().unwrap()
    }

    /// From now on the server answers so.
    pub(super) fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        *locked(&self.script.answers) = answers.into_iter().collect();
    }

    pub(super) fn requests(&self) -> usize {
        *self.script.count.borrow()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        locked(&self.script.seen).clone()
    }

    /// Waits until `count` requests have come.
    pub(super) async fn has_seen(&self, count: usize) {
        let mut requests = self.script.count.subscribe();
        eventually(requests.wait_for(|seen| *seen >= count))
            .await
            .unwrap();
    }
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response<axum::body::Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    locked(&script.seen).push(Seen {
        uri: parts.uri,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let answer = {
        let mut answers = locked(&script.answers);
        if answers.len() > 1 {
            answers.pop_front().unwrap()
        } else {
            answers.front().unwrap().clone()
        }
    };
    script.count.send_modify(|count| *count += 1);
    match answer {
        Answer::Hang => std::future::pending().await,
        Answer::Reply {
            status,
            headers,
            body,
        } => {
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
    }
}

/// A deadline so generous that only a hang can miss it.
pub(super) async fn eventually<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(2), future)
        .await
        .expect("this was to happen at last")
}

/// Moves tokio's clock; time runs on from there, so that real sockets keep working.
pub(super) async fn skip(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Everything that this thread logs while it lives, down to the finest level.
pub(super) struct Log {
    lines: Lines,
    /// With a single subscriber alive, tracing-core asks that of whichever thread comes to a log
    /// line first, and other tests' threads have none; with two it asks them all.
    _second: tracing::Dispatch,
    _default: tracing::subscriber::DefaultGuard,
}

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(super) fn capture() -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self {
            lines,
            _second: tracing::Dispatch::new(tracing_subscriber::registry()),
            _default: tracing::subscriber::set_default(subscriber),
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&locked(&self.lines.0)).into_owned()
    }
}
