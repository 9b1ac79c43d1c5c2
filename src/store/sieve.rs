//! What the tables hold for certain not: a Bloom filter of all their keys, so that what is new, as nearly everything is, is
//! looked for in none of them.
//!
//! It may hold more than the tables, never less. Must not know where its keys come from.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::key::Key;

/// Bits for each key: of a thousand that are not there, one seems to be.
const BITS: usize = 16;
/// A line of the processor's cache: all bits of a key lie in one.
type Line = [u64; 8];
const LINE_BITS: usize = 8 * 64;
/// Room for 260,000 keys.
const FEWEST: usize = 8192;
/// Room for 16 million keys, 32 MiB; beyond that more and more seem to be there.
const MOST: usize = 1 << 19;

/// A set of keys that may seem to hold others too.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    lines: Vec<Line>,
    keys: usize,
    /// How many there were when all there is had been added.
    whole: Option<usize>,
}

impl Sieve {
    /// Begins anew, with room for `keys`. Until it is whole, anything may be there.
    pub(super) fn begin(&mut self, keys: usize) {
        let lines = (keys.saturating_mul(BITS) / LINE_BITS).clamp(FEWEST, MOST);
        *self = Self { lines: vec![Line::default(); lines], keys: 0, whole: None };
    }

    /// All there is was added.
    pub(super) fn complete(&mut self) {
        self.whole = (!self.lines.is_empty()).then_some(self.keys);
    }

    /// Whether it would be of more use if it began anew: it was never whole, or holds more than it has room for, of which
    /// half or more may be gone from the tables.
    pub(super) fn is_worn(&self) -> bool {
        self.whole.is_none_or(|whole| self.keys * BITS > self.lines.len() * LINE_BITS && self.keys / 2 >= whole)
    }

    pub(super) fn add(&mut self, key: &Key) {
        let (at, bits) = self.places(key);
        if let Some(line) = self.lines.get_mut(at) {
            line.iter_mut().zip(bits).for_each(|(word, bit)| *word |= bit);
            self.keys += 1;
        }
    }

    /// Whether `key` may be there.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        let (at, bits) = self.places(key);
        self.whole.is_none()
            || self.lines.get(at).is_none_or(|line| line.iter().zip(bits).all(|(word, bit)| word & bit != 0))
    }

    /// The line of a key, and its bit in each of the words there.
    fn places(&self, key: &Key) -> (usize, [u64; 8]) {
        let (line, bits) = match key {
            // A part of a SHA-256: as evenly spread as any hash of it.
            Key::Digits(bytes) => {
                let half = |half: Option<&[u8; 8]>| half.map_or(0, |half| u64::from_le_bytes(*half));
                (half(bytes.first_chunk()), half(bytes.last_chunk()))
            }
            Key::Other(bytes) => {
                let hash = |part: u8| {
                    let mut hasher = DefaultHasher::new();
                    (part, bytes).hash(&mut hasher);
                    hasher.finish()
                };
                (hash(0), hash(1))
            }
        };
        let at = usize::try_from(line % (self.lines.len().max(1) as u64)).unwrap_or_default();
        (at, std::array::from_fn(|word| 1 << (bits >> (6 * word) & 63)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::Token;

    fn key(n: usize) -> Key {
        let token = Token::of([n.to_string().as_str()]);
        Key::of(if n.is_multiple_of(7) { &token.as_str()[..9] } else { token.as_str() })
    }

    #[test]
    fn what_was_added_is_there_and_next_to_nothing_else() {
        let mut sieve = Sieve::default();
        sieve.begin(10);
        let room = FEWEST * LINE_BITS / BITS;
        (0..room).for_each(|n| sieve.add(&key(n)));
        assert!(sieve.may_hold(&key(room)) && sieve.is_worn(), "it is not whole yet");
        sieve.complete();
        assert!((0..room).all(|n| sieve.may_hold(&key(n))));
        let seeming = (room..2 * room).filter(|n| sieve.may_hold(&key(*n))).count();
        assert!((1..room / 500).contains(&seeming), "{seeming} of {room}");
        (0..room).for_each(|n| sieve.add(&key(n)));
        assert!(sieve.is_worn(), "it is full, and half of it may be gone");
        sieve.complete();
        assert!(!sieve.is_worn(), "it is full of what is there");
        sieve.begin(room);
        sieve.complete();
        assert!((0..room).all(|n| !sieve.may_hold(&key(n))) && !sieve.is_worn());
    }

    #[test]
    fn one_that_never_began_says_nothing() {
        let mut sieve = Sieve::default();
        sieve.complete();
        sieve.add(&key(1));
        assert!(sieve.may_hold(&key(2)) && sieve.is_worn());
    }
}
