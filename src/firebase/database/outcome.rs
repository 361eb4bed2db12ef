//! What an answer of the database means for whoever asked.

use super::target::is_database_host;
use crate::services::ports::{ReadError, WriteError};
use crate::telemetry::metrics::RequestOutcome;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use url::Url;

/// A longer pause is not believed; it would be taken for an outage.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(10);
/// A reason is for a log line.
const MAX_REASON_CHARS: usize = 200;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No token, or no connection: nothing was sent.
    NotSent,
    /// The request was sent, or may have been, and no answer was understood.
    Ambiguous,
    TooLarge,
}

/// An answer. The body of a success is whole or, for a write, not read at all; that of a failure
/// is read as far as it comes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    /// Names the content of the place, where that was asked for.
    pub(super) etag: Option<String>,
    pub(super) body: Vec<u8>,
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        // A connection that never stood carried nothing. A request that could not even be built likewise.
        if error.is_connect() || error.is_builder() {
            Self::NotSent
        } else {
            Self::Ambiguous
        }
    }
}

/// Statuses and their meaning: firebase.google.com/docs/reference/rest/database, "Error conditions".
pub(super) fn write_result(asked: Result<Answer, Fault>) -> Result<Vec<u8>, WriteError> {
    let answer = asked.map_err(|fault| match fault {
        Fault::NotSent => WriteError::NotSent,
        Fault::Ambiguous | Fault::TooLarge => WriteError::Ambiguous,
    })?;
    let retry_after = answer.retry_after;
    match answer.status.as_u16() {
        200..=299 => Ok(answer.body),
        400 | 413 => Err(WriteError::BadData),
        429 => Err(WriteError::Busy { retry_after }),
        // "The request was not attempted."
        503 if retry_after.is_some() => Err(WriteError::Busy { retry_after }),
        503 => Err(WriteError::NotSent),
        408 | 500..=599 => Err(WriteError::Ambiguous),
        _ => Err(WriteError::Denied(reason(&answer))),
    }
}

pub(super) fn read_result(asked: Result<Answer, Fault>) -> Result<Vec<u8>, ReadError> {
    let answer = asked.map_err(|fault| match fault {
        Fault::NotSent | Fault::Ambiguous => ReadError::Unavailable,
        Fault::TooLarge => ReadError::Denied("the answer is too large".to_owned()),
    })?;
    let retry_after = answer.retry_after;
    match answer.status.as_u16() {
        200..=299 => Ok(answer.body),
        429 => Err(ReadError::Busy { retry_after }),
        503 if retry_after.is_some() => Err(ReadError::Busy { retry_after }),
        408 | 500..=599 => Err(ReadError::Unavailable),
        _ => Err(ReadError::Denied(reason(&answer))),
    }
}

pub(super) fn write_label<T>(result: &Result<T, WriteError>) -> RequestOutcome {
    match result {
        Ok(_) => RequestOutcome::Ok,
        Err(WriteError::NotSent) => RequestOutcome::NotSent,
        Err(WriteError::Ambiguous) => RequestOutcome::Ambiguous,
        Err(WriteError::Busy { .. }) => RequestOutcome::Busy,
        Err(WriteError::BadData) => RequestOutcome::BadData,
        Err(WriteError::Denied(_)) => RequestOutcome::Denied,
    }
}

pub(super) fn read_label<T>(result: &Result<T, ReadError>) -> RequestOutcome {
    match result {
        Ok(_) => RequestOutcome::Ok,
        Err(ReadError::Unavailable) => RequestOutcome::NotSent,
        Err(ReadError::Busy { .. }) => RequestOutcome::Busy,
        Err(ReadError::Denied(_)) => RequestOutcome::Denied,
    }
}

/// `Retry-After` in either of its forms: seconds, or a date to compare with that of the answer;
/// `now` by our own clock, which may be wrong, serves where the answer has none.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let date = |text| httpdate::parse_http_date(text).ok();
    let asked = text(RETRY_AFTER)?;
    let pause = if let Ok(seconds) = asked.parse() {
        Duration::from_secs(seconds)
    } else {
        let since = text(DATE).and_then(date).unwrap_or(now);
        date(asked)?.duration_since(since).unwrap_or_default()
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

/// The wall clock's reading as the type that HTTP dates are compared with.
pub(super) fn system_time(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}

/// The database's own words, made fit for a log line, and what the operator can do about it.
pub(super) fn reason(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = answer.status.as_u16();
    let mut text = format!("status {status}");
    let error = body.get("error").and_then(Value::as_str);
    if let Some(error) = error {
        text.push_str(": ");
        text.extend(error.chars().take(MAX_REASON_CHARS).flat_map(printable));
    }
    let correct = body.get("correctUrl").and_then(Value::as_str);
    let correct = correct.and_then(|url| Url::parse(url).ok());
    if let Some(host) = correct
        .as_ref()
        .filter(|url| is_database_host(url))
        .and_then(Url::host_str)
    {
        text.push_str("; set FIREBASE_DATABASE_URL to https://");
        text.push_str(host);
    } else if let Some(remedy) = remedy(status, error.unwrap_or_default()) {
        text.push_str("; ");
        text.push_str(remedy);
    }
    text
}

/// Texts are not promised, statuses are: firebase.google.com/docs/reference/rest/database, "Error conditions".
fn remedy(status: u16, error: &str) -> Option<&'static str> {
    match status {
        401 if error.starts_with("Unauthorized request") => Some(
            "give the service account the role `Firebase Realtime Database Admin`, and its tokens \
             the scopes firebase.database and userinfo.email",
        ),
        402 => Some("the plan's quota is used up: see usage and billing in the Firebase console"),
        403 => Some(
            "check the database's name in FIREBASE_DATABASE_URL, and that the service account \
             may write to it",
        ),
        404 => Some("no database is at FIREBASE_DATABASE_URL: copy it from the Firebase console"),
        423 => Some("the database is deactivated: enable it in the Firebase console"),
        _ => None,
    }
}

pub(super) fn printable(c: char) -> impl Iterator<Item = char> {
    let plain = (c == ' ' || c.is_ascii_graphic()).then_some(c);
    let escaped = plain.is_none().then(|| c.escape_unicode());
    plain.into_iter().chain(escaped.into_iter().flatten())
}
