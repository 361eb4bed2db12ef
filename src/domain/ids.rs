//! The names of things. Parsed once at the door; behind it an id is valid by its type.

use std::fmt;
use std::sync::Arc;

/// Firebase: a uid has 1 to 128 characters; we hold chat ids to the same.
pub const MAX_ID_CHARS: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {MAX_ID_CHARS} characters")]
    TooLong,
    #[error("must not hold a control character or '/', nor be '.' or '..'")]
    Forbidden,
    #[error("is not a valid database key")]
    BadKey,
}

/// A Firebase account: the uid, 1 to 128 characters of any kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// A conversation in Firebase: 1 to 128 characters, no control character, no `/`, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChatId(Arc<str>);

/// One live connection of this process, in the order of arrival. Never leaves the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl UserId {
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_length(text)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The uid as a Realtime Database key: exactly `. $ # [ ] / %` and control characters are
    /// percent-encoded, so ordinary uids are their own key and no two uids share one.
    pub fn to_key(&self) -> String {
        encode_key(&self.0)
    }

    /// The uid behind a key made by [`UserId::to_key`]; any other spelling is refused, so that
    /// one user has one record.
    pub fn from_key(key: &str) -> Result<Self, IdError> {
        let user = Self::parse(&decode_key(key)?)?;
        if user.to_key() == key {
            Ok(user)
        } else {
            Err(IdError::BadKey)
        }
    }
}

impl ChatId {
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_length(text)?;
        if text == "." || text == ".." || text.chars().any(|c| c == '/' || c.is_control()) {
            return Err(IdError::Forbidden);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn to_key(&self) -> String {
        encode_key(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Debug for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

fn check_length(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    // Characters past the limit are not counted, however long the text.
    if text.chars().nth(MAX_ID_CHARS).is_some() {
        return Err(IdError::TooLong);
    }
    Ok(())
}

/// One path segment of the Realtime Database for any text.
///
/// Forbidden there are `. $ # [ ] /` and ASCII control characters
/// (firebase.google.com/docs/database/usage/limits); `%` is escaped to keep the mapping injective.
///
/// Invariant: an id's key is legal, at most 512 bytes of the 768 there (test: `keys_are_legal_for_any_id`).
/// Invariant: two ids never share a key (test: `two_ids_never_share_a_key`).
pub fn encode_key(text: &str) -> String {
    let mut key = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '.' | '$' | '#' | '[' | ']' | '/' | '%') || c.is_ascii_control() {
            key.push('%');
            for digit in [c as u32 >> 4, c as u32 & 0xF] {
                key.extend(char::from_digit(digit, 16).map(|d| d.to_ascii_uppercase()));
            }
        } else {
            key.push(c);
        }
    }
    key
}

/// The text behind a key; the reverse of [`encode_key`], tolerant of needless escapes.
pub fn decode_key(key: &str) -> Result<String, IdError> {
    let mut text = String::with_capacity(key.len());
    let mut rest = key.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|d| d.to_digit(16))
                .ok_or(IdError::BadKey)
        };
        let code = digit()? * 16 + digit()?;
        text.push(char::from_u32(code).ok_or(IdError::BadKey)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
