//! What the client sent stays between the client and the verifier.

use super::*;
use std::fmt::Write;
use std::io;
use std::sync::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// Everything that was logged while it stood as the default.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

#[tokio::test]
async fn no_log_line_error_or_metric_holds_any_part_of_a_token() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    // With a single subscriber alive, tracing-core asks that of whichever thread comes to a log
    // line first, and other tests' threads have none; with two it asks them all.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _logged = tracing::subscriber::set_default(subscriber);

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
