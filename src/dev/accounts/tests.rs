use super::*;
use crate::dev::demo_token;
use crate::domain::time::UnixMillis;
use axum::body::Body;
use axum::extract::Request;
use tower::ServiceExt as _;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const SIGN_IN: &str = "/identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken?key=any";

async fn ask(accounts: &AccountsStandIn, request: Request) -> (u16, Value) {
    let response = router(accounts.clone()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
    let body = serde_json::from_slice(&body.unwrap()).unwrap_or_default();
    (status, body)
}

async fn post(accounts: &AccountsStandIn, path: &str, body: impl ToString) -> (u16, Value) {
    let body = Body::from(body.to_string());
    ask(accounts, Request::post(path).body(body).unwrap()).await
}

fn open() -> (AccountsStandIn, Clock) {
    let clock = Clock::manual(NOW);
    (AccountsStandIn::new("demo-test", clock.clone()), clock)
}

fn claims(token: &Value, now: UnixMillis) -> Map<String, Value> {
    demo_token::verify("demo-test", token.as_str().unwrap(), now).unwrap()
}

#[tokio::test]
async fn a_custom_token_signs_in_whom_it_names() {
    let (accounts, _) = open();
    let token = json!({ "uid": "alice", "claims": { "role": "x" } }).to_string();
    let body = json!({ "token": token, "returnSecureToken": true });
    let (status, answer) = post(&accounts, SIGN_IN, body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["localId"], "alice");
    assert_eq!(answer["expiresIn"], "3600");
    let id_token = answer["idToken"].as_str().unwrap();
    assert!(id_token.starts_with("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0."));
    assert!(id_token.ends_with('.'));
    let seconds = NOW.0 / 1000;
    let expected = json!({
        "role": "x", "auth_time": seconds, "user_id": "alice",
        "firebase": { "identities": {}, "sign_in_provider": "custom" },
        "iat": seconds, "exp": seconds + 3600, "aud": "demo-test",
        "iss": "https://securetoken.google.com/demo-test", "sub": "alice",
    });
    assert_eq!(Value::Object(claims(&answer["idToken"], NOW)), expected);
}

#[tokio::test]
async fn a_custom_token_may_be_a_jwt() {
    let (accounts, _) = open();
    let claims = URL_SAFE_NO_PAD.encode(json!({ "uid": "bob" }).to_string());
    let body = json!({ "token": format!("e30.{claims}.") });
    let (status, answer) = post(&accounts, SIGN_IN, body).await;
    assert_eq!((status, &answer["localId"]), (200, &json!("bob")));
}

#[tokio::test]
async fn a_refresh_moves_the_times_of_the_token_but_not_the_sign_in() {
    let (accounts, clock) = open();
    let path = "/identitytoolkit.googleapis.com/v1/accounts:signUp?key=any";
    let (status, answer) = post(&accounts, path, "{}").await;
    assert_eq!(status, 200);
    let before = claims(&answer["idToken"], NOW);
    assert_eq!(before["firebase"]["sign_in_provider"], "anonymous");
    assert_eq!(before["provider_id"], "anonymous");
    assert_eq!(answer["localId"].as_str().unwrap().len(), UID_CHARS);

    let later = UnixMillis(NOW.0 + 1_800_000);
    clock.set_unix(later);
    let token = answer["refreshToken"].as_str().unwrap();
    let form = format!("grant_type=refresh_token&refresh_token={token}");
    let path = "/securetoken.googleapis.com/v1/token?key=any";
    let (status, answer) = post(&accounts, path, form).await;
    assert_eq!(status, 200);
    assert_eq!(answer["expires_in"], "3600");
    let after = claims(&answer["id_token"], later);
    assert_eq!(after["auth_time"], before["auth_time"]);
    assert_eq!(after["sub"], before["sub"]);
    assert_eq!(after["iat"], json!(later.0 / 1000));
    let json = json!({ "grantType": "refresh_token", "refreshToken": token });
    assert_eq!(post(&accounts, path, json).await.0, 200);
}

#[tokio::test]
async fn what_is_no_sign_in_is_refused() {
    let (accounts, _) = open();
    let custom = |token: Value| json!({ "token": token.to_string() }).to_string();
    for (body, code) in [
        ("{".to_owned(), "INVALID_JSON"),
        ("{}".to_owned(), "MISSING_CUSTOM_TOKEN"),
        (custom(json!("alice")), "INVALID_CUSTOM_TOKEN"),
        (custom(json!({ "uid": "" })), "INVALID_CUSTOM_TOKEN"),
        (
            custom(json!({ "uid": "u".repeat(129) })),
            "INVALID_CUSTOM_TOKEN",
        ),
        (
            custom(json!({ "uid": "a", "claims": { "aud": "x" } })),
            "FORBIDDEN_CLAIM",
        ),
    ] {
        let (status, answer) = post(&accounts, SIGN_IN, body).await;
        assert_eq!((status, &answer["error"]["message"]), (400, &json!(code)));
    }
    let path = "/securetoken.googleapis.com/v1/token";
    assert_eq!(
        post(&accounts, path, "grant_type=refresh_token&refresh_token=x")
            .await
            .0,
        400
    );
    let huge = "x".repeat(MAX_BODY_BYTES + 1);
    assert_eq!(post(&accounts, SIGN_IN, huge).await.0, 413);
}

#[tokio::test]
async fn a_token_is_one_curl_away() {
    let (accounts, _) = open();
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let (status, answer) = ask(&accounts, get("/token?uid=a%2Fb")).await;
    assert_eq!(status, 200);
    assert_eq!(claims(&answer["idToken"], NOW)["sub"], "a/b");
    let long = format!("/token?uid={}", "%C3%A9".repeat(129));
    assert_eq!(ask(&accounts, get(&long)).await.0, 400);
    let (_, ready) = ask(&accounts, get("/")).await;
    assert_eq!(ready["authEmulator"]["ready"], true);
    assert!(ready["authEmulator"]["standIn"].is_string());
}
