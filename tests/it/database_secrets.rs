//! What the REST client and the mirror never tell the log, whatever goes wrong.

use crate::database_contract::record;
use crate::database_faults::{EXPIRED, Mirrored, Site, quick};
use crate::google::{Google, access_token};
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{Fault, Target as For};
use presence_bridge::domain::ids::UserId;
use presence_bridge::firebase::access_token::AccessTokens;
use presence_bridge::services::ports::Records;
use std::sync::{Arc, Mutex};

/// Everything that is logged, at every level and by every crate.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let writer = self.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_tokens_nor_users_are_in_logs_and_errors() {
    let page = Page::default();
    let mut errors = Vec::new();
    // For every task: they all run on this thread.
    let logging = tracing::subscriber::set_default(page.subscriber());
    let site = Site::open().await;
    let google = Google::open(&site.base).await;
    let file = google.key_file();
    let key = std::fs::read_to_string(file.path()).unwrap().into();
    let tokens = AccessTokens::from_key_file(key, Clock::system(), Arc::default());
    let database = site.database(Arc::new(tokens));
    let name = UserId::parse("c4nary/ann").unwrap();
    let one = [(name.clone(), record(true, 7))];
    let quote = r#"{"error":"Permission denied"}"#;
    for fault in [
        Fault::Status(401, EXPIRED.to_owned()),
        Fault::Status(403, "{}".to_owned()),
        Fault::Status(400, quote.to_owned()),
        Fault::Status(500, quote.to_owned()),
        Fault::ResetBeforeCommit,
        Fault::HangBeforeCommit,
    ] {
        site.base.inject(For::any(), 2, fault.clone());
        errors.push(format!("{:?}", database.write(&one, None).await));
        errors.push(format!("{:?}", database.read(&name).await));
        site.base.clear_faults();
    }
    let mirrored = Mirrored::start(database, quick());
    site.base.inject(For::any(), 3, Fault::ResetAfterCommit);
    mirrored
        .handle
        .want(name.clone(), record(false, 8))
        .await
        .unwrap();
    site.until("the record", |base| {
        base.value("/presence/c4nary%2Fann/lastSeen") == 8
    })
    .await;
    mirrored.end().await;
    drop(logging);
    let log = page.text();
    let secret = access_token(1);
    let secret = secret.trim_end_matches('1');
    assert!(
        !errors
            .iter()
            .any(|e| e.contains("c4nary") || e.contains(secret)),
        "{errors:#?}"
    );
    for line in log.lines() {
        let ours = line.contains("presence_bridge");
        assert!(!line.contains(secret), "{line}");
        assert!(!ours || !line.contains("c4nary"), "{line}");
    }
    assert!(
        log.contains("presence_bridge"),
        "our own words were caught: {log}"
    );
}
