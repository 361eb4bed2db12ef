//! Chance that can be repeated: the same seed throws the same numbers, on every machine.

/// `SplitMix64`: small, fast, and good enough to choose what happens.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `below` − 1.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    /// From `from` to `to`, both possible.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// From 0 to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        f64::from(u16::try_from(self.next() >> 48).unwrap_or(u16::MAX)) / f64::from(u16::MAX)
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let last = from.len() as u64;
        from[usize::try_from(self.below(last)).unwrap_or(0)]
    }
}

/// The seed of history `number` of a run.
pub(crate) fn seed_of(run: u64, number: u64) -> u64 {
    Dice::new(run ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93)).next()
}
