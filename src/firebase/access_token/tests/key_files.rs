//! What a key file must be, before any network.

use super::*;
use std::fs;
use std::path::{Path, PathBuf};

const HTTPS: &str = "https://oauth2.googleapis.com/token";

/// A file in the directory for temporary files, gone when dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("presence-bridge-{}-{name}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// The error of a key file with one member changed; `null` removes it.
fn error_with(name: &str, value: Value) -> String {
    let mut json = keys()[0].key_file(HTTPS);
    json[name] = value;
    json.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    KeyFile::parse(&json.to_string()).unwrap_err().to_string()
}

#[test]
fn a_key_file_names_project_and_account() {
    let text = keys()[0].key_file(HTTPS).to_string();
    let file = Temporary::new("good", &text);
    let key = KeyFile::read(&file.0).unwrap();
    assert_eq!(key.project_id.as_deref(), Some("demo-test"));
    assert_eq!(key.client_email, "bridge@demo-test.iam.gserviceaccount.com");
    let project = KeyFile::read_project_id(&file.0).unwrap();
    assert_eq!(project.as_deref(), Some("demo-test"));
}

#[test]
fn the_project_id_can_be_read_of_any_credentials_file() {
    let file = Temporary::new("user", r#"{"type":"authorized_user","project_id":"p"}"#);
    let project = KeyFile::read_project_id(&file.0).unwrap();
    assert_eq!(project.as_deref(), Some("p"));
    let file = Temporary::new("nameless", r#"{"type":"authorized_user"}"#);
    assert_eq!(KeyFile::read_project_id(&file.0).unwrap(), None);
}

#[test]
fn an_unusable_key_file_is_refused_with_the_reason() {
    let lacks = |name| CredentialError::Lacks(name).to_string();
    assert_eq!(error_with("private_key", Value::Null), lacks("private_key"));
    assert_eq!(error_with("private_key", json!(7)), lacks("private_key"));
    assert_eq!(error_with("client_email", json!("")), lacks("client_email"));
    assert_eq!(error_with("token_uri", Value::Null), lacks("token_uri"));
    assert_eq!(
        error_with("type", json!("external_account")),
        CredentialError::NotServiceAccount.to_string()
    );
    let parsed = KeyFile::parse("-----BEGIN PRIVATE KEY-----");
    assert!(matches!(parsed, Err(CredentialError::NotJson)));
    let missing = KeyFile::read(Path::new("/nowhere/key.json"));
    assert!(matches!(missing, Err(CredentialError::Unreadable(_))));
    let huge = Temporary::new("huge", &format!("{{\"a\":\"{}\"}}", "x".repeat(70_000)));
    assert!(matches!(
        KeyFile::read(&huge.0),
        Err(CredentialError::NotJson)
    ));
}

#[test]
fn the_assertion_goes_over_https_or_stays_on_this_machine() {
    for uri in [
        HTTPS,
        "http://127.0.0.1:9/token",
        "http://[::1]:9/token",
        "http://localhost/token",
    ] {
        assert!(
            KeyFile::parse(&keys()[0].key_file(uri).to_string()).is_ok(),
            "{uri}"
        );
    }
    let insecure = CredentialError::InsecureTokenUri.to_string();
    for uri in [
        "http://oauth2.googleapis.com/token",
        "http://127.0.0.1.evil.example/",
        "ftp://127.0.0.1/",
        "token",
    ] {
        assert_eq!(error_with("token_uri", json!(uri)), insecure, "{uri}");
    }
}

#[test]
fn a_private_key_that_is_none_is_found_at_start_and_not_quoted() {
    for key in [
        "SECRET",
        "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n",
    ] {
        let mut json = keys()[0].key_file(HTTPS);
        json["private_key"] = json!(key);
        let file = KeyFile::parse(&json.to_string()).unwrap();
        let clock = Clock::system();
        let tokens = AccessTokens::from_key_file(&file, clock, Arc::new(Metrics::new()));
        let error = tokens.unwrap_err();
        assert!(matches!(error, CredentialError::BadPrivateKey));
        assert!(!format!("{error} {error:?}").contains("SECRET"));
    }
}

#[tokio::test]
async fn nothing_secret_is_in_any_debug_output() {
    let bench = Bench::key_file([grant("SECRET-TOKEN", 3600)]).await;
    bench.token().await.unwrap();
    let file = KeyFile::parse(&keys()[0].key_file(HTTPS).to_string()).unwrap();
    let text = format!("{file:?} {:?}", bench.tokens);
    assert!(
        !text.contains("PRIVATE KEY") && !text.contains("SECRET"),
        "{text}"
    );
}

#[test]
fn a_metadata_host_is_a_host_and_perhaps_a_port() {
    for host in [
        METADATA_HOST,
        "169.254.169.254",
        "127.0.0.1:8080",
        "[::1]:8080",
    ] {
        assert!(metadata_url(host).is_some(), "{host}");
    }
    for host in ["", "a/b", "user@host", "host?x", "host:port", "a b"] {
        assert!(metadata_url(host).is_none(), "{host}");
    }
}
