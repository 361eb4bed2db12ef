//! Names for what POST adds: 20 characters that sort by the time of their making.

use crate::domain::time::UnixMillis;
use rand::RngExt as _;

/// In the order of their ASCII codes, so that the names sort as their numbers do.
const ALPHABET: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
const TIME_DIGITS: usize = 8;
const CHANCE_DIGITS: usize = 12;

/// Two names of one millisecond are successors, so the order of making is kept.
#[derive(Debug, Default)]
pub(super) struct PushIds {
    last_ms: u64,
    chance: [u8; CHANCE_DIGITS],
}

impl PushIds {
    pub(super) fn next(&mut self, now: UnixMillis) -> String {
        if now.0 == self.last_ms {
            for digit in self.chance.iter_mut().rev() {
                *digit = (*digit + 1) % 64;
                if *digit != 0 {
                    break;
                }
            }
        } else {
            self.last_ms = now.0;
            let mut random = rand::rng();
            self.chance = std::array::from_fn(|_| random.random_range(0..64));
        }
        let time = (0..TIME_DIGITS)
            .rev()
            .map(|digit| usize::try_from(now.0 >> (6 * digit) & 63).unwrap_or(0));
        time.chain(self.chance.iter().map(|digit| usize::from(*digit)))
            .map(|digit| char::from(ALPHABET[digit]))
            .collect()
    }
}
