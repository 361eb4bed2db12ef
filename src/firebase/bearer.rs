//! Who we are to the Realtime Database: the value of the `Authorization: Bearer` header.
use crate::services::ports::BoxFuture;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no access token can be had now")]
pub struct TokenError;

/// A source of bearer tokens. `invalidate` names the token that the database refused, so that a newer one is kept.
pub trait TokenSource: Send + Sync + 'static {
    fn token(&self) -> BoxFuture<'_, Result<String, TokenError>>;
    fn invalidate(&self, rejected: &str);
}

/// What the emulator takes for full access: `Authorization: Bearer owner` (firebase-tools).
#[derive(Clone, Copy, Debug)]
pub struct Owner;

impl TokenSource for Owner {
    fn token(&self) -> BoxFuture<'_, Result<String, TokenError>> {
        Box::pin(async { Ok("owner".to_owned()) })
    }
    fn invalidate(&self, _rejected: &str) {}
}
