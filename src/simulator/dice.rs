//! Everything the service leaves to chance, from one seed, so that a run can be repeated.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Seeded chance.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

impl Dice {
    /// Dice that always fall the same for the same seed.
    pub(super) fn seeded(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.0.random_bool(share.min(1.0))
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.0.random_range(0..bound) }
    }

    /// From 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0.random()
    }

    pub(super) fn nonce(&mut self) -> String {
        format!("{:032x}", self.0.random::<u128>())
    }
}
