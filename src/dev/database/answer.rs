//! What goes back over the wire: answers, and the reasons why there is none.

use super::path::PathError;
use super::query::QueryError;
use super::rules::RulesError;
use super::tree::DataError;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use std::borrow::Cow;
use std::convert::Infallible;

/// Why a request was not performed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    Error(StatusCode, Cow<'static, str>),
    /// `if-match` did not: the value there is now, and its name.
    Mismatch(Value, String),
    /// `if-none-match` did: the name of the value.
    Unchanged(String),
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<Cow<'static, str>>) -> Self {
        Self::Error(status, error.into())
    }

    pub(super) fn permission_denied() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Permission denied")
    }

    pub(super) fn bad(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Error(status, _) => *status,
            Self::Mismatch(..) => StatusCode::PRECONDITION_FAILED,
            Self::Unchanged(_) => StatusCode::NOT_MODIFIED,
        }
    }
}

impl From<DataError> for Refusal {
    fn from(error: DataError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<PathError> for Refusal {
    fn from(_: PathError) -> Self {
        Self::bad("Invalid path: Invalid token in path")
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<RulesError> for Refusal {
    fn from(error: RulesError) -> Self {
        Self::bad(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        match self {
            Self::Error(_, error) => {
                let body = format!(
                    "{{\n  \"error\" : {}\n}}\n",
                    Value::from(error.into_owned())
                );
                json_response(status, body)
            }
            Self::Mismatch(value, etag) => {
                with_etag(json_response(status, value.to_string()), Some(&etag))
            }
            Self::Unchanged(etag) => with_etag(status.into_response(), Some(&etag)),
        }
    }
}

pub(super) fn json_response(status: StatusCode, body: String) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, kind, body).into_response()
}

pub(super) fn with_etag(mut response: Response, etag: Option<&str>) -> Response {
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// The same head, but a body that stops after its first byte.
pub(super) fn stall(response: Response) -> Response {
    let (head, _) = response.into_parts();
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
    let never = stream::pending();
    Response::from_parts(head, Body::from_stream(first.chain(never)))
}
