//! A service account's key file, checked at start: a key that cannot work should not wait for the first write to say so.

use super::address;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A key file has about 2.4 KB; whatever is far longer is something else.
const MAX_BYTES: u64 = 64 * 1024;

/// What the settings need to know of a key file; the secret stays in the file.
#[derive(Debug)]
pub(super) struct KeyFile {
    pub(super) project_id: Option<String>,
}

/// Reads and checks the file. The sentence of an error names a field, never its value.
pub(super) fn read(path: &Path) -> Result<KeyFile, String> {
    let place = path.display();
    let text = read_text(path).map_err(|error| format!("{place} cannot be read: {error}"))?;
    let key: Map<String, Value> =
        serde_json::from_str(&text).map_err(|_| format!("{place} is not a JSON object"))?;
    check(&key).map_err(|fault| {
        format!(
            "{place}: {fault}; expected the JSON file that the Firebase console hands out for a service account"
        )
    })?;
    Ok(KeyFile {
        project_id: text_of(&key, "project_id").map(ToOwned::to_owned),
    })
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is too long for a key file"));
    }
    Ok(text)
}

fn check(key: &Map<String, Value>) -> Result<(), &'static str> {
    if text_of(key, "type") != Some("service_account") {
        return Err("`type` is not `service_account` (a login of a person does not do)");
    }
    if !text_of(key, "client_email").is_some_and(|email| email.contains('@')) {
        return Err("`client_email` is missing or not an address");
    }
    if !text_of(key, "private_key").is_some_and(|pem| pem.contains("-----BEGIN")) {
        return Err("`private_key` is missing or not in PEM form");
    }
    // We sign an assertion for whoever this is.
    match text_of(key, "token_uri").map(address::service_url) {
        Some(Some(_)) => Ok(()),
        Some(None) => Err("`token_uri` is neither https nor http on a loopback address"),
        None => Err("`token_uri` is missing"),
    }
}

fn text_of<'a>(key: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    key.get(field)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}
