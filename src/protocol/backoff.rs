//! Growing pauses with jitter, from a seed of one's own, so that a test can replay them.

use std::time::Duration;

/// A small stream of pseudo-random numbers (`SplitMix64`); only for spreading load, never for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always fall the same for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number in `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A duration between `low` and `high`.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        low + high.saturating_sub(low).mul_f64(self.roll())
    }
}

/// A pause that doubles with every use, up to a cap, spread over its upper or its whole range.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    floor: f64,
    tries: u32,
}

impl Backoff {
    /// Full jitter: each pause is anything from zero to `base * 2^n`, at most `cap`.
    #[must_use]
    pub fn full_jitter(base: Duration, cap: Duration) -> Self {
        Self { base, cap, floor: 0.0, tries: 0 }
    }

    /// Each pause is at least `base * 2^n` (at most `cap`) and up to half as much again, for peers that said no.
    #[must_use]
    pub fn at_least(base: Duration, cap: Duration) -> Self {
        Self { base, cap, floor: 1.0, tries: 0 }
    }

    /// The next pause.
    pub fn next(&mut self, dice: &mut Dice) -> Duration {
        let whole = self.base.saturating_mul(2u32.saturating_pow(self.tries.min(30))).min(self.cap);
        self.tries = self.tries.saturating_add(1);
        if self.floor > 0.0 { dice.between(whole, whole.mul_f64(1.5)) } else { dice.between(Duration::ZERO, whole) }
    }

    /// Starts again from the shortest pause.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_jitter_stays_below_a_doubling_cap() {
        let mut dice = Dice::seeded(7);
        let mut backoff = Backoff::full_jitter(Duration::from_secs(1), Duration::from_mins(1));
        for n in 0..100u32 {
            let most =
                Duration::from_secs(1).saturating_mul(2u32.saturating_pow(n.min(20))).min(Duration::from_mins(1));
            assert!(backoff.next(&mut dice) <= most, "pause {n}");
        }
    }

    #[test]
    fn a_refusal_waits_at_least_its_base() {
        let mut dice = Dice::seeded(1);
        let mut backoff = Backoff::at_least(Duration::from_secs(10), Duration::from_mins(15));
        let pauses: Vec<_> = (0..10).map(|_| backoff.next(&mut dice)).collect();
        assert!(pauses[0] >= Duration::from_secs(10) && pauses[1] >= Duration::from_secs(20));
        assert!(pauses.iter().all(|p| *p <= Duration::from_mins(15).mul_f64(1.5)));
        backoff.reset();
        assert!(backoff.next(&mut dice) < Duration::from_secs(16));
    }

    #[test]
    fn dice_are_spread_evenly_enough() {
        let mut dice = Dice::seeded(42);
        let mean = (0..10_000).map(|_| dice.roll()).sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }
}
