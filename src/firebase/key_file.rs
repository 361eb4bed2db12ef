//! A service account's key file.

use super::fetch::is_private;
use super::json::Object;
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use url::Url;

const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

/// Why there can be no access tokens. Quotes nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("cannot read the key file")]
    Unreadable(#[source] std::io::Error),
    #[error("the key file is not JSON of less than 64 KiB")]
    NotJson,
    #[error("the key file is not that of a service account (\"type\": \"service_account\")")]
    NotServiceAccount,
    #[error("the key file lacks {0}, or it is not a text")]
    Lacks(&'static str),
    #[error("token_uri of the key file is neither https nor http on this machine")]
    InsecureTokenUri,
    #[error("private_key of the key file is not an RSA key (PKCS #8, PEM)")]
    BadPrivateKey,
    #[error("the metadata server's address is not a host, or a host and a port")]
    BadMetadataHost,
    #[error("cannot build an HTTP client; are root certificates installed?")]
    Client,
}

/// A service account's key, as downloaded from Google.
#[derive(Clone)]
pub struct KeyFile {
    pub project_id: Option<String>,
    pub client_email: String,
    /// The whole file: `gcp_auth` reads it itself. Secret.
    pub(super) json: Arc<str>,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("project_id", &self.project_id)
            .field("client_email", &self.client_email)
            .finish_non_exhaustive()
    }
}

impl KeyFile {
    pub fn read(path: &Path) -> Result<Self, CredentialError> {
        let json = read_file(path)?;
        warn_if_shared(path);
        Self::parse(&json)
    }

    pub fn parse(json: &str) -> Result<Self, CredentialError> {
        let file = Object::parse(json.as_bytes()).map_err(|_| CredentialError::NotJson)?;
        if matches!(file.text("type"), Ok(Some(kind)) if kind != "service_account") {
            return Err(CredentialError::NotServiceAccount);
        }
        let text = |name: &'static str| {
            file.text(name)
                .ok()
                .flatten()
                .filter(|text| !text.is_empty())
                .map(Cow::into_owned)
                .ok_or(CredentialError::Lacks(name))
        };
        text("private_key")?;
        let token_uri = Url::parse(&text("token_uri")?).ok();
        if !token_uri.is_some_and(|uri| is_private(&uri)) {
            return Err(CredentialError::InsecureTokenUri);
        }
        Ok(Self {
            project_id: text("project_id").ok(),
            client_email: text("client_email")?,
            json: json.into(),
        })
    }

    /// The project that a key file names; the rest of it is not looked at.
    pub fn read_project_id(path: &Path) -> Result<Option<String>, CredentialError> {
        let json = read_file(path)?;
        let file = Object::parse(json.as_bytes()).map_err(|_| CredentialError::NotJson)?;
        let id = file.text("project_id").ok().flatten();
        Ok(id.filter(|id| !id.is_empty()).map(Cow::into_owned))
    }
}

fn read_file(path: &Path) -> Result<String, CredentialError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_KEY_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(CredentialError::Unreadable)?;
    String::from_utf8(bytes).map_err(|_| CredentialError::NotJson)
}

/// Mounted secrets are often readable by all in the container: worth a word, not a refusal.
fn warn_if_shared(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map(|found| found.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o004 != 0) {
            tracing::warn!("the key file can be read by every user of this machine");
        }
    }
}
