//! The rows about the Auth emulator's tokens.

use super::vectors::{EXPIRED, INVALID, OK, Row, assert_verdicts, bare, row};
use super::*;

#[rustfmt::skip]
fn emulator_rows() -> Vec<Row> {
    let claims = alice().to_string();
    let signed = |header: &str| keys()[0].sign(header, &claims);
    let changed = |key: &str, value: Value| unsigned(&with(|claims| claims[key] = value));
    let cookie = "https://session.firebase.google.com/demo-test";
    vec![
        row("E1 unsigned", unsigned(&alice()), OK),
        row("E1 unsigned with a kid", bare(r#"{"alg":"none","kid":"kid1"}"#), OK),
        row("E1 unsigned with an odd kid", bare(r#"{"alg":"none","kid":7}"#), OK),
        row("E2 RS256", mint(&alice()), INVALID),
        row("E2 alg none with a signature", signed(r#"{"alg":"none"}"#), INVALID),
        row("E2 RS256 with an empty signature", bare(r#"{"alg":"RS256","kid":"kid1"}"#), INVALID),
        row("E2 alg None", bare(r#"{"alg":"None"}"#), INVALID),
        row("E2 alg missing", bare("{}"), INVALID),
        row("E2 no third segment", unsigned(&alice()).trim_end_matches('.'), INVALID),
        row("E2 crit", bare(r#"{"alg":"none","crit":["a"]}"#), INVALID),
        row("E3 expired", changed("exp", json!(NOW_S - 60)), EXPIRED),
        row("E3 wrong aud", changed("aud", json!("other")), INVALID),
        row("E3 wrong iss", changed("iss", json!("other")), INVALID),
        row("E3 session cookie", changed("iss", json!(cookie)), INVALID),
        row("E3 empty sub", changed("sub", json!("")), INVALID),
        row("E3 iat from the future", changed("iat", json!(NOW_S + 600)), INVALID),
        row("E3 tenant", changed("firebase", json!({ "tenant": "t" })), INVALID),
        row("E3 too large", "a".repeat(4097), INVALID),
    ]
}

#[tokio::test]
async fn emulator_mode_waives_the_signature_and_nothing_else() {
    let clock = Clock::manual(UnixMillis(NOW_S * 1000));
    let verifier = Verifier::emulator(rules(), clock, Arc::new(Metrics::new()));
    assert_verdicts(&verifier, emulator_rows()).await;
}
