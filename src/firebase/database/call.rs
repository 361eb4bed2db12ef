//! One request to the database: sent, counted, and its answer read within bounds.

use super::Database;
use super::outcome::{self, Answer, Fault};
use crate::services::ports::{ReadError, WriteError};
use crate::telemetry::metrics::{DatabaseOp, RequestOutcome};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH};
use reqwest::{Method, Response, StatusCode};
use std::time::Duration;
use url::Url;

/// Enough for the reason that a failure states.
const MAX_ERROR_BYTES: usize = 16 << 10;

/// Asks for the tag of what is read; firebase.google.com/docs/database/rest/save-data, "Conditional requests".
const ASKS_FOR_TAG: &str = "X-Firebase-ETag";
/// One request, to be sent once or, with a fresh token, twice.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Vec<u8>>,
    pub(super) condition: Condition,
    /// How much of a successful answer is read; 0 for writes whose status says it all.
    pub(super) limit_bytes: usize,
    pub(super) timeout: Duration,
}

/// What a request asks of the tag that names a place's content.
pub(super) enum Condition {
    None,
    /// Tell it.
    Tag,
    /// Write only while it is this one.
    If(String),
}

impl Database {
    pub(super) fn call(&self, method: Method, url: Url) -> Call {
        Call {
            method,
            url,
            body: None,
            condition: Condition::None,
            limit_bytes: 0,
            timeout: self.options.timeout,
        }
    }

    /// Sends a request; a refused token is replaced once.
    pub(super) async fn ask(&self, call: &Call) -> Result<Answer, Fault> {
        let token = self.token().await?;
        let answer = self.ask_as(&token, call).await?;
        if answer.status != StatusCode::UNAUTHORIZED || is_denied_by_rules(&answer) {
            return Ok(answer);
        }
        self.tokens.invalidate(&token);
        let token = self.token().await?;
        self.ask_as(&token, call).await
    }

    async fn token(&self) -> Result<String, Fault> {
        match tokio::time::timeout(self.options.timeout, self.tokens.token()).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(_)) | Err(_) => Err(Fault::NotSent),
        }
    }

    async fn ask_as(&self, token: &str, call: &Call) -> Result<Answer, Fault> {
        let bearer = format!("Bearer {token}");
        let mut credential = HeaderValue::try_from(bearer).map_err(|_| Fault::NotSent)?;
        credential.set_sensitive(true);
        let mut request = self
            .client
            .request(call.method.clone(), call.url.clone())
            .timeout(call.timeout)
            .header(AUTHORIZATION, credential);
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        request = match &call.condition {
            Condition::None => request,
            Condition::Tag => request.header(ASKS_FOR_TAG, "true"),
            Condition::If(tag) => request.header(IF_MATCH, tag),
        };
        let response = request
            .send()
            .await
            .map_err(|e| Fault::from(e.without_url()))?;
        let now = outcome::system_time(self.clock.unix().0);
        let status = response.status();
        let retry_after = outcome::retry_after(response.headers(), now);
        let etag = response.headers().get(ETAG);
        let etag = etag.and_then(|tag| Some(tag.to_str().ok()?.to_owned()));
        let body = if status.is_success() {
            whole_body(response, call.limit_bytes).await?
        } else {
            beginning_of_body(response).await
        };
        Ok(Answer {
            status,
            retry_after,
            etag,
            body,
        })
    }

    /// Counts and times a request around its future.
    pub(super) async fn measure<T>(
        &self,
        op: DatabaseOp,
        label: fn(&T) -> RequestOutcome,
        request: impl Future<Output = T>,
    ) -> T {
        let start = self.clock.instant();
        let result = request.await;
        let took = self.clock.instant().saturating_duration_since(start);
        let metrics = &self.metrics;
        metrics.database_requests.get_or_create(&op.into()).inc();
        metrics
            .database_outcomes
            .get_or_create(&label(&result).into())
            .inc();
        metrics
            .database_seconds
            .get_or_create(&op.into())
            .observe(took.as_secs_f64());
        result
    }

    pub(super) async fn write_call(
        &self,
        op: DatabaseOp,
        call: Call,
    ) -> Result<Vec<u8>, WriteError> {
        let request = async { outcome::write_result(self.ask(&call).await) };
        self.measure(op, outcome::write_label, request).await
    }

    pub(super) async fn read_call(&self, op: DatabaseOp, call: Call) -> Result<Vec<u8>, ReadError> {
        let request = async { outcome::read_result(self.ask(&call).await) };
        self.measure(op, outcome::read_label, request).await
    }
}

/// Status 401 because of the rules, which a fresh token does not change.
fn is_denied_by_rules(answer: &Answer) -> bool {
    answer.status == StatusCode::UNAUTHORIZED
        && String::from_utf8_lossy(&answer.body).contains("Permission denied")
}

/// All of a successful answer. Nothing is read of an answer whose status says it all.
async fn whole_body(mut response: Response, limit_bytes: usize) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    if limit_bytes == 0 {
        return Ok(body);
    }
    while let Some(chunk) = response.chunk().await.map_err(|_| Fault::Ambiguous)? {
        if body.len() + chunk.len() > limit_bytes {
            return Err(Fault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// As much of a failure's body as comes, within reason.
async fn beginning_of_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MAX_ERROR_BYTES {
            body.truncate(MAX_ERROR_BYTES);
            break;
        }
    }
    body
}
