//! A service account's key file, checked at start: a key that cannot work should not wait for the first write to say so.

use super::address;
use gcp_auth::CustomServiceAccount;
use serde_json::{Map, Value};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// A key file has about 2.4 KB; whatever is far longer is something else.
const MAX_BYTES: u64 = 64 * 1024;

/// A service account's key as the Firebase console hands it out.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    pub project_id: Option<String>,
    /// The whole text, with which `gcp_auth` builds an account. Secret.
    pub json: Arc<str>,
    /// Whether every user of this machine may read the file; many ways to mount a secret make it so.
    pub is_shared: bool,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("project_id", &self.project_id)
            .field("is_shared", &self.is_shared)
            .finish_non_exhaustive()
    }
}

impl KeyFile {
    /// Reads and checks the file. The sentence of an error names a field, never its value.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let (text, is_shared) =
            read_text(path).map_err(|error| format!("{place} cannot be read: {error}"))?;
        let key: Map<String, Value> =
            serde_json::from_str(&text).map_err(|_| format!("{place} is not a JSON object"))?;
        check(&key, &text).map_err(|fault| {
            format!(
                "{place}: {fault}; expected the JSON file that the Firebase console hands out for a service account"
            )
        })?;
        Ok(Self {
            project_id: text_of(&key, "project_id").map(ToOwned::to_owned),
            json: text.into(),
            is_shared,
        })
    }
}

fn read_text(path: &Path) -> std::io::Result<(String, bool)> {
    let file = File::open(path)?;
    let is_shared = is_shared(&file)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is too long for a key file"));
    }
    Ok((text, is_shared))
}

#[cfg(unix)]
fn is_shared(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_shared(_: &File) -> std::io::Result<bool> {
    Ok(false)
}

fn check(key: &Map<String, Value>, text: &str) -> Result<(), &'static str> {
    if text_of(key, "type") != Some("service_account") {
        return Err("`type` is not `service_account` (a login of a person does not do)");
    }
    if !text_of(key, "client_email").is_some_and(|email| email.contains('@')) {
        return Err("`client_email` is missing or not an address");
    }
    if text_of(key, "private_key").is_none() {
        return Err("`private_key` is missing");
    }
    // We sign an assertion for whoever this is.
    match text_of(key, "token_uri").map(address::service_url) {
        Some(Some(_)) => {}
        Some(None) => return Err("`token_uri` is neither https nor http on a loopback address"),
        None => return Err("`token_uri` is missing"),
    }
    match CustomServiceAccount::from_json(text) {
        Ok(_) => Ok(()),
        Err(gcp_auth::Error::Io(..)) => {
            Err("it cannot be used without root certificates; install ca-certificates")
        }
        Err(gcp_auth::Error::Json(..)) => Err("a field stands there twice or is of a wrong kind"),
        Err(_) => Err("`private_key` is not an RSA key (PKCS #8, PEM)"),
    }
}

fn text_of<'a>(key: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    key.get(field)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}
