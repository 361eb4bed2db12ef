//! The demo page: its files, embedded, and the policy under which a browser runs them.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use url::Url;

const INDEX: &str = include_str!("page/index.html");
const APP: &str = include_str!("page/app.js");
const STYLE: &str = include_str!("page/style.css");
/// The stock `socket.io-client`; version and origin stand in `page/README.md`.
const CLIENT: &str = include_str!("page/socket.io.min.js");

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JSON: &str = "application/json";

/// What the page has to know.
#[derive(Clone, Debug)]
pub struct PageConfig {
    /// Where it signs in: the token endpoint, or the Auth emulator. Only scheme, host and port count.
    pub auth_url: Url,
}

/// The page at `/` and what belongs to it. The client lies at `/client/`, because `/socket.io/` is the bridge's own.
pub fn page_router(config: &PageConfig) -> Router {
    let auth = config.auth_url.origin().ascii_serialization();
    let settings = json!({ "authUrl": auth }).to_string();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self' {auth}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Router::new()
        .route("/", get(async move || file(HTML, INDEX, Some(&policy))))
        .route("/app.js", get(async || file(JAVASCRIPT, APP, None)))
        .route("/style.css", get(async || file(CSS, STYLE, None)))
        .route(
            "/client/socket.io.min.js",
            get(async || file(JAVASCRIPT, CLIENT, None)),
        )
        .route(
            "/config.json",
            get(async move || file(JSON, settings, None)),
        )
}

fn file(kind: &'static str, content: impl IntoResponse, policy: Option<&str>) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_TYPE, kind),
        // A newer binary may serve another page at the same address.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(policy) = policy.and_then(|policy| HeaderValue::from_str(policy).ok()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::extract::Request;
    use tower::ServiceExt as _;

    async fn fetch(path: &str) -> (Response, String) {
        let config = PageConfig {
            auth_url: Url::parse("http://127.0.0.1:9099/ignored").unwrap(),
        };
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = page_router(&config).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (Response::from_parts(head, Body::empty()), text)
    }

    #[tokio::test]
    async fn every_file_that_the_page_names_is_served_with_its_type() {
        let (_, index) = fetch("/").await;
        for (path, kind) in [
            ("/client/socket.io.min.js", JAVASCRIPT),
            ("/app.js", JAVASCRIPT),
            ("/style.css", CSS),
        ] {
            assert!(index.contains(&format!("\"{path}\"")), "{path}");
            let (response, _) = fetch(path).await;
            assert_eq!(response.status(), 200, "{path}");
            assert_eq!(response.headers()["content-type"], kind);
        }
        let (response, settings) = fetch("/config.json").await;
        assert_eq!(response.headers()["content-type"], JSON);
        assert_eq!(settings, r#"{"authUrl":"http://127.0.0.1:9099"}"#);
    }

    #[tokio::test]
    async fn the_policy_names_the_token_endpoint_and_nothing_else_outside() {
        let (response, _) = fetch("/").await;
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(
            policy.contains("connect-src 'self' http://127.0.0.1:9099;"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(policy.matches("http").count(), 1, "{policy}");
    }

    #[test]
    fn the_page_needs_nothing_that_the_policy_forbids() {
        assert!(!APP.contains("innerHTML") && !APP.contains("eval("));
        assert!(
            !INDEX.contains(" style=") && !INDEX.contains("onclick") && !INDEX.contains("<style")
        );
        let outside = |text: &str| text.matches("https://").count();
        assert_eq!(outside(INDEX) + outside(APP) + outside(STYLE), 0);
    }
}
