//! What the client sent stays between the client and the verifier.

use super::*;
use crate::firebase::fake::Log;
use std::fmt::Write;

#[tokio::test]
async fn no_log_line_error_or_metric_holds_any_part_of_a_token() {
    let log = Log::capture();
    let canary = with(|c| c["sub"] = json!("CANARY-UID"));
    let mut expired = canary.clone();
    expired["exp"] = json!(NOW_S - 3600);
    let header = r#"{"alg":"RS256","kid":"CANARY-KID"}"#;
    let tokens = [
        mint(&canary),
        mint(&expired),
        unsigned(&canary),
        keys()[0].sign(header, &canary.to_string()),
        TestKey::generate("kid1").mint(&canary),
        mint(&canary).replace('.', "!"),
        mint(&canary).repeat(9),
    ];
    let bench = Bench::new().await;
    let mut errors = String::new();
    for token in &tokens {
        match bench.verify(token).await {
            Ok(identity) => assert_eq!(identity.user.as_str(), "CANARY-UID"),
            Err(error) => writeln!(errors, "{error} {error:?}").unwrap(),
        }
    }
    let text = log.text() + &errors + &bench.metrics.encode().unwrap();
    assert!(text.contains("token refused"), "the log was captured");
    assert!(!text.contains("CANARY"), "{text}");
    for part in tokens.iter().flat_map(|token| token.split(['.', '!'])) {
        let part = &part[..part.len().min(24)];
        assert!(part.is_empty() || !text.contains(part), "{text}");
    }
}
