//! Keys and paths, and what may be one (firebase.google.com/docs/database/usage/limits).

use std::fmt;

/// The longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 768;
/// The deepest place that may hold a value.
pub const MAX_DEPTH: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a key is empty, too long, or holds a forbidden character")]
    BadKey,
    #[error("deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// A place in the tree: valid keys, at most [`MAX_DEPTH`] of them; none is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<String>);

impl Path {
    pub fn root() -> Self {
        Self::default()
    }

    /// A path as it stands in the keys of an update; slashes at the ends and doubled ones do not count.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        text.split('/')
            .filter(|key| !key.is_empty())
            .try_fold(Self::root(), Self::child)
    }

    /// A path as it stands in a URL: split first, so that an encoded slash stays part of its key,
    /// where it is refused.
    pub fn parse_url(text: &str) -> Result<Self, PathError> {
        let mut path = Self::root();
        for raw in text.split('/').filter(|key| !key.is_empty()) {
            path = path.child(&percent_decode(raw).ok_or(PathError::BadKey)?)?;
        }
        Ok(path)
    }

    pub fn child(mut self, key: &str) -> Result<Self, PathError> {
        check_key(key)?;
        if self.0.len() == MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        self.0.push(key.to_owned());
        Ok(self)
    }

    pub fn join(mut self, below: &Self) -> Result<Self, PathError> {
        if self.0.len() + below.0.len() > MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        self.0.extend_from_slice(&below.0);
        Ok(self)
    }

    pub fn keys(&self) -> &[String] {
        &self.0
    }

    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// The keys that lead from `self` down to `other`, if it is here or below.
    pub fn to<'a>(&self, other: &'a Self) -> Option<&'a [String]> {
        other.0.strip_prefix(self.0.as_slice())
    }

    pub fn contains(&self, other: &Self) -> bool {
        self.to(other).is_some()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|key| write!(f, "/{key}"))
    }
}

pub fn check_key(key: &str) -> Result<(), PathError> {
    let forbidden =
        |c: char| matches!(c, '.' | '$' | '#' | '[' | ']' | '/') || c.is_ascii_control();
    if key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains(forbidden) {
        return Err(PathError::BadKey);
    }
    Ok(())
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let code = digit()? << 4 | digit()?;
        bytes.push(u8::try_from(code).ok()?);
    }
    String::from_utf8(bytes).ok()
}
