//! The HTTP front door: health for platforms, metrics for operators.

pub mod health;

use crate::telemetry::logs::DroppedLines;
use crate::telemetry::metrics::Metrics;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use health::Health;
use std::sync::Arc;

/// `OpenMetrics` 1.0 text.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the internet may ask: is it there, and may traffic come?
pub fn public(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(health::ready))
        .with_state(health)
}

/// What operators may ask besides; on a listener of its own.
pub fn admin(health: Arc<Health>, metrics: Arc<Metrics>, dropped: Option<DroppedLines>) -> Router {
    let page = get(move || async move { scrape(&metrics, dropped.as_ref()) });
    public(health).route("/metrics", page)
}

fn scrape(metrics: &Metrics, dropped: Option<&DroppedLines>) -> impl IntoResponse + use<> {
    if let Some(dropped) = dropped {
        metrics
            .log_dropped
            .set(i64::try_from(dropped.count()).unwrap_or(i64::MAX));
    }
    match metrics.encode() {
        Ok(page) => (StatusCode::OK, [(header::CONTENT_TYPE, METRICS_TYPE)], page),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            String::new(),
        ),
    }
}
