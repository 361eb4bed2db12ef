//! The rows about what a token says.

use super::vectors::{
    EXPIRED, INVALID, OK, Row, assert_verdicts, claim, header, row, spelled, without,
};
use super::*;

#[rustfmt::skip]
fn audience_rows() -> Vec<Row> {
    let aud = |name: &str, value: Value| claim(name, "aud", value, INVALID);
    let iss = |name: &str, value: &str| claim(name, "iss", json!(value), INVALID);
    vec![
        aud("9 aud other", json!("other")),
        aud("9 aud an array with ours", json!([PROJECT])),
        aud("9 aud in upper case", json!("DEMO-TEST")),
        without("9 aud missing", "aud", INVALID),
        iss("10 iss other project", "https://securetoken.google.com/other"),
        iss("10, 26 session cookie", "https://session.firebase.google.com/demo-test"),
        iss("10 iss trailing slash", "https://securetoken.google.com/demo-test/"),
        iss("10 iss http", "http://securetoken.google.com/demo-test"),
        iss("10 iss upper case", "https://SECURETOKEN.google.com/demo-test"),
        iss("10 iss look-alike", "https://securetoken.google.com.evil.example/demo-test"),
        without("10 iss missing", "iss", INVALID),
        claim("10 iss an array", "iss", json!(["https://securetoken.google.com/demo-test"]), INVALID),
    ]
}

#[rustfmt::skip]
fn subject_rows() -> Vec<Row> {
    let sub = |name: &str, value: Value, verdict| claim(name, "sub", value, verdict);
    vec![
        without("11 sub missing", "sub", INVALID),
        sub("11 sub empty", json!(""), INVALID),
        sub("11 sub a number", json!(7), INVALID),
        sub("11 sub null", Value::Null, INVALID),
        sub("12 sub 128 ASCII", json!("a".repeat(128)), OK),
        sub("12 sub 129 ASCII", json!("a".repeat(129)), INVALID),
        sub("13 sub 128 x U+20AC", json!("\u{20ac}".repeat(128)), OK),
        sub("13 sub 64 astral characters", json!("\u{1f600}".repeat(64)), OK),
        sub("13 sub 65 astral characters", json!("\u{1f600}".repeat(65)), INVALID),
        sub("J14 sub with database characters", json!("a/b.c#d$e[f]\n"), OK),
        claim("14 user_id is not sub", "user_id", json!("mallory"), OK),
    ]
}

#[rustfmt::skip]
fn expiry_rows() -> Vec<Row> {
    let exp = |name: &str, text: &str, verdict| spelled(name, "exp", text, verdict);
    let ago = |seconds: u64| (NOW_S - seconds).to_string();
    vec![
        // The edge of row 15: valid while now < exp + leeway.
        exp("15 exp now", &ago(0), OK),
        exp("15 exp 1 s ago", &ago(1), OK),
        exp("15 exp 59 s ago", &ago(59), OK),
        exp("15 exp 60 s ago", &ago(60), EXPIRED),
        exp("15 exp 299 s ago", &ago(299), EXPIRED),
        without("16 exp missing", "exp", INVALID),
        exp("17 exp a string", "\"1900000000\"", INVALID),
        exp("17 exp a float", "1800000060.5", OK),
        exp("17 exp with an exponent", "1.9e9", OK),
        exp("J12 exp negative", "-1", INVALID),
        exp("J12 exp 2^63", "9223372036854775808", INVALID),
        exp("J12 exp infinite", "1e400", INVALID),
        exp("J12 exp NaN", "NaN", INVALID),
        exp("J12 exp true", "true", INVALID),
        exp("J12 exp an array", "[1900000000]", INVALID),
        exp("J12 last second of 9999", "253402300799", OK),
        exp("J12 first second of 10000", "253402300800", INVALID),
    ]
}

#[rustfmt::skip]
fn past_rows() -> Vec<Row> {
    let mut rows = vec![
        claim("20 nbf in 600 s", "nbf", json!(NOW_S + 600), INVALID),
        claim("20 nbf in 60 s", "nbf", json!(NOW_S + 60), OK),
        claim("20 nbf past", "nbf", json!(NOW_S - 1), OK),
        claim("J13 nbf a string", "nbf", json!("0"), INVALID),
    ];
    for (number, key) in [(18, "iat"), (19, "auth_time")] {
        let case = |what: &str, value: Value, verdict| claim(&format!("{number} {key} {what}"), key, value, verdict);
        rows.extend([
            case("in 600 s", json!(NOW_S + 600), INVALID),
            case("in 61 s", json!(NOW_S + 61), INVALID),
            case("in 60 s", json!(NOW_S + 60), OK),
            case("a string", json!(NOW_S.to_string()), INVALID),
            case("null", Value::Null, INVALID),
            case("long ago", json!(1), OK),
            without(&format!("{number} {key} missing"), key, INVALID),
        ]);
    }
    rows
}

#[rustfmt::skip]
fn stranger_rows() -> Vec<Row> {
    let account = "sa@demo-test.iam.gserviceaccount.com";
    let toolkit = "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit";
    let custom = json!({ "aud": toolkit, "iss": account, "sub": account, "uid": "alice", "iat": NOW_S, "exp": NOW_S + 3600 });
    let legacy = json!({ "v": 0, "d": { "uid": "alice" }, "iat": NOW_S });
    let google = json!({ "aud": "1.apps.googleusercontent.com", "iss": "https://accounts.google.com", "sub": "1", "iat": NOW_S, "exp": NOW_S + 3600 });
    let elsewhere = json!({ "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/", "jwk": keys()[1].jwk(), "x5c": ["AAAA"] });
    let sign = |header: &str, claims: &Value| keys()[0].sign(header, &claims.to_string());
    vec![
        row("24 custom token", sign(r#"{"alg":"RS256","typ":"JWT"}"#, &custom), INVALID),
        row("24 custom token with a kid", mint(&custom), INVALID),
        row("25 legacy custom token", sign(r#"{"alg":"HS256","typ":"JWT"}"#, &legacy), INVALID),
        row("J11 Google ID token", mint(&google), INVALID),
        header("27 jku, x5u, jwk, x5c", &elsewhere, OK),
        header("28 crit", &json!({ "crit": ["exp"] }), INVALID),
        header("28 crit empty", &json!({ "crit": [] }), INVALID),
        header("29 typ missing", &json!({ "typ": null }), OK),
        without("29 firebase claim missing", "firebase", OK),
        claim("30 tenant token, no tenant configured", "firebase", json!({ "tenant": "t1" }), INVALID),
        claim("J18 tenant a number", "firebase", json!({ "tenant": 1 }), INVALID),
        claim("J18 tenant null", "firebase", json!({ "tenant": null }), INVALID),
        claim("J18 firebase claim a string", "firebase", json!("tenant"), INVALID),
        claim("J19 anonymous user", "firebase", json!({ "sign_in_provider": "anonymous" }), OK),
        claim("J19 e-mail not verified", "email_verified", json!(false), OK),
    ]
}

#[tokio::test]
async fn every_vector_of_content_has_its_verdict() {
    let bench = Bench::new().await;
    let groups = [
        audience_rows(),
        subject_rows(),
        expiry_rows(),
        past_rows(),
        stranger_rows(),
    ];
    assert_verdicts(&bench.verifier, groups.into_iter().flatten()).await;
    assert_eq!(bench.server.requests(), 1);
}

#[tokio::test]
async fn the_uid_is_sub_whatever_user_id_says() {
    let bench = Bench::new().await;
    let token = mint(&with(|c| c["user_id"] = json!("mallory")));
    assert_eq!(bench.verify(&token).await.unwrap().user.as_str(), "alice");
}
