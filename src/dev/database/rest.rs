//! The REST door: hands a request to its namespace, enters it in the history, and lets it fail where a test wants so.

use super::answer::{Refusal, json_response, stall};
use super::call::Call;
use super::credential::{Credential, CredentialKind, Gate};
use super::faults::Fault;
use super::path::Path;
use super::{DatabaseStandIn, Entry, State, Verdict};
use crate::dev::listen::Connection;
use crate::domain::time::{Moment, UnixMillis};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
/// A longer body is not kept in the history.
const MAX_KEPT_BODY_BYTES: usize = 64 * 1024;

pub(super) async fn handle(standin: DatabaseStandIn, request: Request) -> Response {
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(refusal) => return refusal.into_response(),
    };
    let connection = call.connection.clone();
    let fault = {
        let faults = &mut standin.lock().faults;
        faults.next(&call.method, &call.path, call.json.as_ref())
    };
    match fault {
        None if call.wants_stream() => standin.open_stream(&call),
        None => standin.answer(&call),
        Some(fault) => standin.fail(call, fault, &connection).await,
    }
}

impl DatabaseStandIn {
    /// Performs the request and enters it in the history, in one step.
    fn answer(&self, call: &Call) -> Response {
        let result = self.enter(call, |state, credential, now| {
            let answer = call.perform(state, self, credential, now.unix)?;
            Ok((call.respond(&answer), answer.verdict))
        });
        result.unwrap_or_else(Refusal::into_response)
    }

    fn open_stream(&self, call: &Call) -> Response {
        let result = self.enter(call, |state, credential, now| {
            let path = Path::parse_url(&call.path)?;
            let namespace = call.namespace(state, self)?;
            let connection = call.connection.clone();
            let reading = namespace.listen(path, credential.clone(), connection, now.unix)?;
            Ok((reading.into_response(now.unix), Verdict::Read))
        });
        result.unwrap_or_else(Refusal::into_response)
    }

    /// Takes note of a request that a fault has swallowed.
    fn lose(&self, call: &Call) {
        let lost = self.enter(call, |_, _, _| Ok(((), Verdict::Lost)));
        drop(lost);
    }

    /// Runs `perform` and records what became of it, under one lock: the order of the history is
    /// the order of the commits.
    fn enter<T>(
        &self,
        call: &Call,
        perform: impl FnOnce(&mut State, &Credential, Moment) -> Result<(T, Verdict), Refusal>,
    ) -> Result<T, Refusal> {
        let now = self.shared.clock.now();
        let mut state = self.lock();
        let credential = self.judge(call, &state, now.unix);
        let kind = credential
            .as_ref()
            .map_or(CredentialKind::Bad, Credential::kind);
        let result = credential.and_then(|credential| perform(&mut state, &credential, now));
        let verdict = match &result {
            Ok((_, verdict)) => *verdict,
            Err(refusal) => Verdict::Refused(refusal.status().as_u16()),
        };
        let namespace = call
            .params
            .get("ns")
            .unwrap_or(&self.shared.default_namespace);
        let entry = Entry {
            sequence: 0,
            at: now,
            connection: call.connection.number,
            namespace: namespace.to_owned(),
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.params.public(),
            body: call
                .json
                .clone()
                .filter(|_| call.body.len() <= MAX_KEPT_BODY_BYTES),
            credential: kind,
            verdict,
        };
        state.record(call.body.len(), entry);
        drop(state);
        self.tell();
        result.map(|(done, _)| done)
    }

    fn judge(&self, call: &Call, state: &State, now: UnixMillis) -> Result<Credential, Refusal> {
        let gate = Gate {
            project: &self.shared.project,
            admin_tokens: &state.admin_tokens,
            now,
        };
        gate.judge(&call.headers, &call.params)
    }

    async fn fail(self, call: Call, fault: Fault, connection: &Connection) -> Response {
        match fault {
            Fault::Status(status, body) => {
                self.lose(&call);
                json_response(StatusCode::from_u16(status).unwrap_or_default(), body)
            }
            Fault::Busy {
                status,
                retry_after_s,
            } => {
                self.lose(&call);
                let status = StatusCode::from_u16(status).unwrap_or_default();
                let mut response = Refusal::new(status, "Service busy").into_response();
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
                response
            }
            Fault::HangBeforeCommit => {
                self.lose(&call);
                connection.hang().await
            }
            Fault::HangAfterCommit => {
                drop(self.answer(&call));
                connection.hang().await
            }
            Fault::ResetBeforeCommit => {
                self.lose(&call);
                connection.reset();
                connection.hang().await
            }
            Fault::ResetAfterCommit => {
                drop(self.answer(&call));
                connection.reset();
                connection.hang().await
            }
            Fault::SlowBody => stall(self.answer(&call)),
            Fault::DelayCommit(delay) => {
                // A task of its own: the write lands even if its sender has gone.
                let late = tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    self.answer(&call)
                });
                late.await
                    .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
            }
        }
    }
}
