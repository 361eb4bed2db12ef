//! What tests can make go wrong, for the next so many matching requests.

use axum::http::Method;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers this status and body; nothing is read or written.
    Status(u16, String),
    /// As `Status`, with a `Retry-After` of so many seconds.
    Busy { status: u16, retry_after_s: u64 },
    /// Never answers and never commits.
    HangBeforeCommit,
    /// Commits and never answers.
    HangAfterCommit,
    /// Resets the TCP connection; nothing is committed.
    ResetBeforeCommit,
    /// Commits, then resets the TCP connection: the ambiguous write.
    ResetAfterCommit,
    /// Commits, answers the head and the first byte of the body, then nothing more.
    SlowBody,
    /// Commits and answers only after so long, even if the client has gone by then.
    DelayCommit(Duration),
}

/// Which requests a fault is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    method: Option<Method>,
    under: String,
    naming: Option<String>,
}

impl Target {
    pub fn any() -> Self {
        Self::default()
    }

    pub fn method(method: Method) -> Self {
        Self {
            method: Some(method),
            ..Self::default()
        }
    }

    /// Only paths that start with `prefix`, such as `/presence`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.under);
        self
    }

    /// Only bodies that write this key.
    #[must_use]
    pub fn naming(mut self, key: &str) -> Self {
        self.naming = Some(key.to_owned());
        self
    }

    fn matches(&self, method: &Method, path: &str, body: Option<&Value>) -> bool {
        let writes = |key: &String| body.is_some_and(|body| body.get(key).is_some());
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && path.starts_with(&self.under)
            && self.naming.as_ref().is_none_or(writes)
    }
}

/// Faults in the order they were asked for; the first that matches is spent.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<(Target, usize, Fault)>);

impl Faults {
    pub(super) fn add(&mut self, target: Target, times: usize, fault: Fault) {
        if times > 0 {
            self.0.push_back((target, times, fault));
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn next(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Fault> {
        let hit = self
            .0
            .iter()
            .position(|(target, _, _)| target.matches(method, path, body))?;
        let (_, times, fault) = self.0.get_mut(hit)?;
        let fault = fault.clone();
        *times -= 1;
        if *times == 0 {
            self.0.remove(hit);
        }
        Some(fault)
    }
}
