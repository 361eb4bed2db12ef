//! One request: read from the wire, then performed on a namespace.

use super::answer::{Refusal, json_response, with_etag};
use super::credential::Credential;
use super::namespace::{Namespace, Write};
use super::path::Path;
use super::query::Query;
use super::rules::Rules;
use super::{DatabaseStandIn, State, Verdict};
use crate::dev::listen::Connection;
use crate::domain::time::UnixMillis;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::time::Duration;

/// The longest body of a request, and how long it may take to arrive.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest `timeout` a read may ask for.
const MAX_READ_TIMEOUT: Duration = Duration::from_mins(15);
const RULES_PATH: &str = "/.settings/rules";
const NO_CONDITIONS: &str = "Mixing 'shallow', querying parameters or 'print=silent' and if-match or if-none-match requests is not supported";

/// The parameters of a URL; the first of a name counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn parse(query: &str) -> Self {
        Self(
            url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let hit = self.0.iter().find(|(key, _)| key == name);
        hit.map(|(_, value)| value.as_str())
    }

    /// All but the credentials.
    pub(super) fn public(&self) -> Vec<(String, String)> {
        let public = |key: &str| key != "auth" && key != "access_token";
        self.0
            .iter()
            .filter(|(key, _)| public(key))
            .cloned()
            .collect()
    }
}

/// A request was performed: what to answer.
pub(super) struct Answer {
    value: Value,
    etag: Option<String>,
    pub(super) verdict: Verdict,
}

/// One request, read from the wire but not yet judged.
pub(super) struct Call {
    pub(super) connection: Connection,
    pub(super) method: Method,
    /// As in the URL, without `.json`.
    pub(super) path: String,
    pub(super) params: Params,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The body as JSON, if it is.
    pub(super) json: Option<Value>,
}

impl Call {
    pub(super) async fn read(request: Request) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let Some(connection) = head.extensions.get::<Connection>().cloned() else {
            return Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "no connection",
            ));
        };
        let Some(path) = head.uri.path().strip_suffix(".json").map(str::to_owned) else {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "404 Not Found"));
        };
        let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY_BYTES));
        let body = match read.await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                return Err(Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "Payload is too large",
                ));
            }
            Err(_) => {
                return Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "the body did not arrive",
                ));
            }
        };
        let wanted = head.headers.get("x-http-method-override");
        let method = wanted
            .filter(|_| head.method == Method::POST)
            .and_then(|name| Method::from_bytes(name.as_bytes()).ok())
            .unwrap_or(head.method);
        Ok(Self {
            connection,
            method,
            params: Params::parse(head.uri.query().unwrap_or("")),
            headers: head.headers,
            json: serde_json::from_slice(&body)
                .ok()
                .filter(|_| path != RULES_PATH),
            body,
            path,
        })
    }

    pub(super) fn wants_stream(&self) -> bool {
        let accept = self.headers.get(header::ACCEPT);
        self.method == Method::GET
            && accept.is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn namespace<'a>(
        &self,
        state: &'a mut State,
        standin: &DatabaseStandIn,
    ) -> Result<&'a mut Namespace, Refusal> {
        let name = self
            .params
            .get("ns")
            .unwrap_or(&standin.shared.default_namespace);
        state
            .namespace(name, standin)
            .ok_or_else(|| Refusal::new(StatusCode::FORBIDDEN, "Invalid Firebase database name"))
    }

    pub(super) fn perform(
        &self,
        state: &mut State,
        standin: &DatabaseStandIn,
        credential: &Credential,
        now: UnixMillis,
    ) -> Result<Answer, Refusal> {
        if self.path == RULES_PATH {
            let namespace = self.namespace(state, standin)?;
            return self.perform_on_rules(namespace, credential, now);
        }
        let path = Path::parse_url(&self.path)?;
        let push_id = (self.method == Method::POST).then(|| state.push_ids.next(now));
        let namespace = self.namespace(state, standin)?;
        self.check_print()?;
        if self.method == Method::GET {
            return self.perform_read(namespace, &path, credential, now);
        }
        self.check_condition(namespace, &path, credential, now)?;
        let (path, write) = match (&self.method, push_id) {
            (&Method::PUT, _) => (path, Write::Put(self.json()?)),
            (&Method::PATCH, _) => (path, Write::Patch(self.json()?)),
            (&Method::DELETE, _) => (path, Write::Put(&Value::Null)),
            (_, Some(id)) => (path.child(&id)?, Write::Put(self.json()?)),
            (_, None) => {
                return Err(Refusal::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "the method is not supported",
                ));
            }
        };
        let changes = namespace.write(&path, &write, credential, now)?;
        let written = || match write {
            Write::Put(_) => namespace.value(&path),
            Write::Patch(body) => body.clone(),
        };
        Ok(Answer {
            value: match self.method {
                Method::POST => serde_json::json!({ "name": path.keys().last() }),
                Method::DELETE => Value::Null,
                _ => written(),
            },
            etag: self.wants_etag().then(|| namespace.etag(&path)),
            verdict: Verdict::Committed {
                records: changes.len(),
            },
        })
    }

    fn perform_read(
        &self,
        namespace: &Namespace,
        path: &Path,
        credential: &Credential,
        now: UnixMillis,
    ) -> Result<Answer, Refusal> {
        let query = Query::parse(&self.params)?;
        if let Some(timeout) = self.params.get("timeout") {
            check_timeout(timeout)?;
        }
        let special = query != Query::All || self.silent();
        let unless = self.header("if-none-match");
        if self.header("if-match").is_some() || (special && unless.is_some()) {
            return Err(Refusal::bad(NO_CONDITIONS));
        }
        let value = namespace.read(path, &query, credential, now)?;
        let etag = (self.wants_etag() || unless.is_some()).then(|| namespace.etag(path));
        if let Some(etag) = etag.as_ref().filter(|etag| unless == Some(etag.as_str())) {
            return Err(Refusal::Unchanged(etag.clone()));
        }
        Ok(Answer {
            value,
            etag,
            verdict: Verdict::Read,
        })
    }

    fn perform_on_rules(
        &self,
        namespace: &mut Namespace,
        credential: &Credential,
        now: UnixMillis,
    ) -> Result<Answer, Refusal> {
        if *credential != Credential::Admin {
            return Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "Unauthorized request.",
            ));
        }
        let (value, verdict) = match self.method {
            Method::GET => (Value::from(namespace.rules().text()), Verdict::Read),
            Method::PUT => {
                let text = std::str::from_utf8(&self.body)
                    .map_err(|_| Refusal::bad("the rules are not UTF-8"))?;
                namespace.set_rules(Rules::parse(text)?, now);
                let ok = serde_json::json!({ "status": "ok" });
                (ok, Verdict::Committed { records: 1 })
            }
            _ => {
                return Err(Refusal::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "the method is not supported",
                ));
            }
        };
        Ok(Answer {
            value,
            etag: None,
            verdict,
        })
    }

    fn json(&self) -> Result<&Value, Refusal> {
        if self.body.is_empty() {
            return Err(Refusal::bad("Error: No data supplied."));
        }
        self.json.as_ref().ok_or_else(|| {
            Refusal::bad("Invalid data; couldn't parse JSON object, array, or value.")
        })
    }

    fn check_print(&self) -> Result<(), Refusal> {
        match self.params.get("print") {
            None | Some("pretty" | "silent") => Ok(()),
            Some(_) => Err(Refusal::bad("print must be pretty or silent")),
        }
    }

    fn check_condition(
        &self,
        namespace: &Namespace,
        path: &Path,
        credential: &Credential,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        if self.header("if-none-match").is_some() {
            return Err(Refusal::bad(NO_CONDITIONS));
        }
        let Some(wanted) = self.header("if-match") else {
            return Ok(());
        };
        if self.silent() || Query::parse(&self.params)? != Query::All {
            return Err(Refusal::bad(NO_CONDITIONS));
        }
        if !matches!(self.method, Method::PUT | Method::DELETE) {
            return Err(Refusal::bad("if-match is supported on PUT and DELETE only"));
        }
        // The answer to a mismatch tells what is there.
        let value = namespace.read(path, &Query::All, credential, now)?;
        let etag = namespace.etag(path);
        if wanted == etag {
            Ok(())
        } else {
            Err(Refusal::Mismatch(value, etag))
        }
    }

    fn silent(&self) -> bool {
        self.params.get("print") == Some("silent")
    }

    fn wants_etag(&self) -> bool {
        let has_etag = matches!(self.method, Method::GET | Method::PUT | Method::DELETE);
        has_etag && self.header("x-firebase-etag") == Some("true")
    }

    pub(super) fn respond(&self, answer: &Answer) -> Response {
        let response = if self.silent() {
            StatusCode::NO_CONTENT.into_response()
        } else if let (RULES_PATH, Value::String(text)) = (self.path.as_str(), &answer.value) {
            json_response(StatusCode::OK, text.clone())
        } else if self.params.get("print") == Some("pretty") {
            json_response(StatusCode::OK, format!("{:#}\n", answer.value))
        } else {
            json_response(StatusCode::OK, answer.value.to_string())
        };
        with_etag(response, answer.etag.as_deref())
    }
}

fn check_timeout(text: &str) -> Result<(), Refusal> {
    let timeout = humantime::parse_duration(text).ok();
    match timeout.filter(|timeout| *timeout <= MAX_READ_TIMEOUT) {
        Some(_) => Ok(()),
        None => Err(Refusal::bad(
            "timeout must be a time of at most 15min, such as 3s",
        )),
    }
}
