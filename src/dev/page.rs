//! The demo page.
use axum::Router;
pub fn router(_auth_url: &str) -> Router {
    Router::new()
}
