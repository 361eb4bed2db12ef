//! Tokens whose signature was found good: a storm of reconnects costs no signatures.
//!
//! A plain map and not moka: most entries belong to connections that are open now, and there a
//! cache's bookkeeping costs more than what is remembered.

use crate::domain::time::UnixMillis;
use crate::services::ports::Identity;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// SHA-256 of the token.
pub(super) type Hash = [u8; 32];

#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) identity: Identity,
    pub(super) key_id: Arc<str>,
    /// When the token is no longer accepted, leeway included.
    pub(super) until: UnixMillis,
}

/// Bounded: when it is full, what has expired goes, and if that is nothing, everything does.
#[derive(Debug)]
pub(super) struct Remembered {
    capacity: usize,
    tokens: Mutex<HashMap<Hash, Verified>>,
}

impl Remembered {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            tokens: Mutex::default(),
        }
    }

    pub(super) fn get(&self, hash: &Hash) -> Option<Verified> {
        self.lock().get(hash).cloned()
    }

    pub(super) fn insert(&self, hash: Hash, token: Verified, now: UnixMillis) {
        let mut tokens = self.lock();
        if tokens.len() >= self.capacity {
            tokens.retain(|_, token| now < token.until);
            if tokens.len() >= self.capacity {
                tokens.clear();
            }
            tokens.shrink_to_fit();
        }
        tokens.insert(hash, token);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Verified>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;

    fn token(until: u64) -> Verified {
        let identity = Identity {
            user: UserId::parse("ann").unwrap(),
            expires_at: UnixMillis(until),
        };
        Verified {
            identity,
            key_id: "k".into(),
            until: UnixMillis(until),
        }
    }

    #[test]
    fn when_full_the_expired_go_first() {
        let remembered = Remembered::new(2);
        remembered.insert([1; 32], token(10), UnixMillis(0));
        remembered.insert([2; 32], token(30), UnixMillis(0));
        remembered.insert([3; 32], token(30), UnixMillis(20));
        assert!(remembered.get(&[1; 32]).is_none());
        assert!(remembered.get(&[2; 32]).is_some() && remembered.get(&[3; 32]).is_some());
    }

    #[test]
    fn it_never_holds_more_than_its_capacity() {
        let remembered = Remembered::new(2);
        for n in 0..9 {
            remembered.insert([n; 32], token(30), UnixMillis(20));
            assert!(remembered.lock().len() <= 2);
            assert!(remembered.get(&[n; 32]).is_some());
        }
    }
}
