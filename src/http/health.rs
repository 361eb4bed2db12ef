//! `/readyz`: may traffic come here, and if not or not fully, why.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use std::sync::Arc;

/// How one part of the bridge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Well,
    /// Clients are served, but something is worse than it should be.
    Degraded(&'static str),
    /// Clients would be served wrongly.
    NotReady(&'static str),
}

type Check = Box<dyn Fn() -> Condition + Send + Sync>;

/// Asks every part at each request, so the answer is never older than the question.
#[derive(Default)]
pub struct Health {
    checks: Vec<Check>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub status: &'static str,
    pub reasons: Vec<&'static str>,
}

impl Health {
    #[must_use]
    pub fn with(mut self, check: impl Fn() -> Condition + Send + Sync + 'static) -> Self {
        self.checks.push(Box::new(check));
        self
    }

    pub fn report(&self) -> Report {
        let mut report = Report {
            status: "ready",
            reasons: Vec::new(),
        };
        for check in &self.checks {
            match check() {
                Condition::Well => {}
                Condition::Degraded(reason) => {
                    report.reasons.push(reason);
                    if report.status == "ready" {
                        report.status = "degraded";
                    }
                }
                Condition::NotReady(reason) => {
                    report.reasons.push(reason);
                    report.status = "not_ready";
                }
            }
        }
        report
    }
}

pub(super) async fn ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let report = health.report();
    let status = if report.status == "not_ready" {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, Json(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_part_decides_and_every_reason_is_named() {
        let health = Health::default()
            .with(|| Condition::Degraded("database_unreachable"))
            .with(|| Condition::NotReady("no_keys"))
            .with(|| Condition::Well);
        let reasons = vec!["database_unreachable", "no_keys"];
        assert_eq!(
            health.report(),
            Report {
                status: "not_ready",
                reasons
            }
        );
    }

    #[test]
    fn degraded_still_takes_traffic() {
        assert_eq!(
            Health::default()
                .with(|| Condition::Degraded("keys_stale"))
                .report()
                .status,
            "degraded"
        );
        assert_eq!(Health::default().report().status, "ready");
    }
}
