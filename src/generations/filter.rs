//! Filters: they say, from memory, that a table does not hold a key, or that it may.
//!
//! A filter is a *blocked quotient filter*: it holds for each key where it lies among all possible ones, as exactly as there
//! is room for. It has one block of 64 bytes for each 44 keys of its table, rounded up. With the first 64 bits of a key as
//! a number and `product` = that number × the number of blocks,
//!
//! * the block of the key is `product` / 2⁶⁴, rounded down, and its *position* in it is the rest, a number of 64 bits;
//! * its *part* of the block is the first 6 bits of the position, and what follows them is its *remainder*.
//!
//! A block is 512 bits, bit 0 the lowest one of the first byte. It holds its `n` keys in their order:
//!
//! | bits | what |
//! |---|---|
//! | 0–63 | bit `i`: some key is in part `i` |
//! | 64–71 | `n`; or 255, if the block has more than 128 keys: then any key may be there, and all bits 0–63 are set |
//! | 72–(71 + `n`) | for each key: it is the last one in its part |
//! | the others | for each key: the first bits of its remainder, as a number; of the first `m` keys `w` + 1 bits, then `w` |
//!
//! `w` and `m` share all the room there is: `w` × `n` + `m` = 440 − `n`, `m` < `n`. With few keys, `w` is 32 and `m` is 0.
//!
//! Why not a Bloom filter: with 75 MB for 50 million keys in 16 tables, one whose bits lie in one block of 64 bytes takes 6.3 %
//! of all new keys for known, an ideal one 4.9 %, and this one 3.5 %. And it is written from one end to the other as the keys
//! come, which are sorted. Why not a crate's: the layout lies in files, and `fastbloom` has changed its own between versions.
//! Must not know what lies in the file.

use std::fmt;

use super::key::Key;

/// Bytes of a block: a line of the processor's cache, so that a look-up waits for memory only once.
pub(super) const BLOCK: usize = 64;
/// Keys of a block on average.
const KEYS: u64 = 44;
/// Keys of a block at most. Of a million blocks, none has as many.
const MOST: usize = 128;
/// The number of keys of a block that may hold any.
const ANY: u64 = 255;
/// Where the bits of the single keys begin.
const FIRST: usize = 72;
/// Bits of a remainder at most.
const WIDEST: usize = 32;
/// Bits of a position that say the part.
const PART: u32 = 6;

/// Returns the number of blocks for a table of `keys`.
pub(super) const fn blocks(keys: u64) -> u64 {
    keys.div_ceil(KEYS)
}

/// The filter of a table.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Filter(Vec<Block>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
struct Block([u64; 8]);

impl Filter {
    /// Reads a filter from its bytes in the file.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let block = |bytes: &[u8]| {
            let mut words = bytes.chunks_exact(8).map(word);
            Block(std::array::from_fn(|_| words.next().unwrap_or_default()))
        };
        Self(bytes.chunks_exact(BLOCK).map(block).collect())
    }

    /// Returns its bytes for the file, block by block.
    pub(super) fn write(&self) -> impl Iterator<Item = [u8; BLOCK]> {
        self.0.iter().map(|block| {
            let mut bytes = [0; BLOCK];
            for (bytes, word) in bytes.chunks_exact_mut(8).zip(block.0) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            bytes
        })
    }

    /// Returns the bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        (self.0.len() * BLOCK) as u64
    }

    /// Whether the table may hold `key`, as far as the first word of a block says. It says no to half of all new keys.
    ///
    /// Who asks several filters asks all of them this first: nothing that follows depends on the answer, so the processor
    /// waits for the memory of all blocks at the same time.
    pub(super) fn may_hold_at_first_sight(&self, key: &Key) -> bool {
        let (block, position) = place(key, self.0.len() as u64);
        self.0.get(block).is_some_and(|block| block.has_part(position))
    }

    /// Whether the table may hold `key`. If not, it certainly does not.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        let (block, position) = place(key, self.0.len() as u64);
        self.0.get(block).is_some_and(|block| block.may_hold(position))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter of {} blocks", self.0.len())
    }
}

/// Returns the block of a key, and its position there.
fn place(key: &Key, blocks: u64) -> (usize, u64) {
    let (position, block) = key.prefix().carrying_mul(blocks, 0);
    (usize::try_from(block).unwrap_or(usize::MAX), position)
}

/// Where the remainders of a block lie.
#[derive(Clone, Copy)]
struct Remainders {
    first: usize,
    /// Bits that each of them has.
    width: usize,
    /// Remainders that have one more.
    wider: usize,
}

impl Remainders {
    /// Returns where those of `keys` lie.
    fn of(keys: usize) -> Self {
        let first = FIRST + keys;
        match ((BLOCK * 8 - first) / keys, (BLOCK * 8 - first) % keys) {
            (width, wider) if width < WIDEST => Self { first, width, wider },
            _ => Self { first, width: WIDEST, wider: 0 },
        }
    }

    /// Returns where the one of key `at` lies, and how many bits it has.
    fn get(self, at: usize) -> (usize, usize) {
        (self.first + at * self.width + at.min(self.wider), self.width + usize::from(at < self.wider))
    }
}

impl Block {
    /// Makes the block of keys with these positions, which are in order.
    fn of(positions: &[u64]) -> Self {
        let mut block = Self::default();
        let keys = positions.len();
        if keys > MOST {
            block.0[0] = u64::MAX;
            block.set(64, ANY);
            return block;
        }
        if keys == 0 {
            return block;
        }
        block.set(64, keys as u64);
        let remainders = Remainders::of(keys);
        let part = |position: &u64| position >> (64 - PART);
        for (at, position) in positions.iter().enumerate() {
            block.0[0] |= 1 << part(position);
            let is_last = positions.get(at + 1).map(part) != Some(part(position));
            block.set(FIRST + at, u64::from(is_last));
            let (first, width) = remainders.get(at);
            block.set(first, position << PART >> (64 - width));
        }
        block
    }

    fn has_part(&self, position: u64) -> bool {
        self.0[0] >> (position >> (64 - PART)) & 1 == 1
    }

    fn may_hold(&self, position: u64) -> bool {
        if !self.has_part(position) {
            return false;
        }
        let keys = match self.get(64, 8) {
            ANY => return true,
            keys => usize::try_from(keys).unwrap_or(MOST),
        };
        let mut ends = u128::from(self.get(FIRST, 64)) | u128::from(self.get(FIRST + 64, 64)) << 64;
        let mut first = 0;
        // Passes over the keys in the parts before this one.
        for _ in 0..(self.0[0] & ((1 << (position >> (64 - PART))) - 1)).count_ones() {
            first = ends.trailing_zeros() + 1;
            ends &= ends.wrapping_sub(1);
        }
        let remainders = Remainders::of(keys);
        (first..=ends.trailing_zeros()).any(|at| {
            let (first, width) = remainders.get(at as usize);
            self.get(first, width) == position << PART >> (64 - width)
        })
    }

    /// Sets bits from `at` on, which are zero.
    fn set(&mut self, at: usize, bits: u64) {
        let (word, shift) = (at / 64, at % 64);
        self.0[word] |= bits << shift;
        if shift > 0 && bits >> (64 - shift) > 0 {
            self.0[word + 1] |= bits >> (64 - shift);
        }
    }

    /// Returns `width` bits from `at` on, at least one and at most 64. Behind the last one there are only zeros.
    fn get(&self, at: usize, width: usize) -> u64 {
        let (word, shift) = (at / 64, at % 64);
        let part = |word: usize| self.0.get(word).copied().unwrap_or_default();
        let high = if shift > 0 { part(word + 1) << (64 - shift) } else { 0 };
        (part(word) >> shift | high) & (u64::MAX >> (64 - width))
    }
}

/// Makes a filter of keys as they come.
#[derive(Debug)]
pub(super) struct Builder {
    filter: Filter,
    block: usize,
    positions: Vec<u64>,
}

impl Builder {
    /// Begins the filter of a table of `keys`.
    pub(super) fn new(keys: u64) -> Self {
        let blocks = usize::try_from(blocks(keys)).unwrap_or(usize::MAX);
        Self { filter: Filter(vec![Block::default(); blocks]), block: 0, positions: Vec::with_capacity(MOST) }
    }

    /// Adds the next key. Keys come in their order.
    pub(super) fn add(&mut self, key: &Key) {
        let (block, position) = place(key, self.filter.0.len() as u64);
        if block != self.block {
            self.complete_block();
            self.block = block;
        }
        // One more than fit says as much as all of them.
        if self.positions.len() <= MOST {
            self.positions.push(position);
        }
    }

    pub(super) fn finish(mut self) -> Filter {
        self.complete_block();
        self.filter
    }

    fn complete_block(&mut self) {
        if let Some(block) = self.filter.0.get_mut(self.block) {
            *block = Block::of(&self.positions);
        }
        self.positions.clear();
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::seed;

    fn filter(keys: &mut [Key]) -> Filter {
        keys.sort_unstable();
        let mut builder = Builder::new(keys.len() as u64);
        for key in keys.iter() {
            builder.add(key);
        }
        builder.finish()
    }

    #[test]
    fn a_filter_says_yes_to_all_its_keys_and_to_a_few_others() {
        for seed in seed::fixed_and_fresh([1]) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut keys: Vec<_> = (0..50_000).map(|_| Key(rng.random())).collect();
            let filter = filter(&mut keys);
            assert!(keys.iter().all(|key| filter.may_hold(key)));
            let taken = (0..200_000).filter(|_| filter.may_hold(&Key(rng.random()))).count();
            assert!((280..620).contains(&taken), "{taken} of 200,000");
            assert_eq!(filter.bytes(), 50_000_u64.div_ceil(44) * 64);
        }
    }

    #[test]
    fn a_filter_says_yes_to_all_its_keys_however_many_there_are_and_however_they_lie() {
        for seed in seed::fixed_and_fresh([1]) {
            let mut rng = StdRng::seed_from_u64(seed);
            for _ in 0..2_000 {
                let count = rng.random_range(0..300);
                let (same, level) = (rng.random_range(0..=12), rng.random::<u8>());
                let key = |rng: &mut StdRng| {
                    let mut key: [u8; 12] = rng.random();
                    key[..same].fill(level);
                    Key(key)
                };
                let mut keys: Vec<_> = (0..count).map(|_| key(&mut rng)).collect();
                let filter = filter(&mut keys);
                assert!(keys.iter().all(|key| filter.may_hold(key)), "{count} keys, {same} bytes are {level}");
            }
        }
    }

    #[test]
    fn a_filter_is_read_as_it_was_written() {
        let mut rng = StdRng::seed_from_u64(seed::fixed(1));
        for count in [0, 1, 44, 45, 1_000] {
            let mut keys: Vec<_> = (0..count).map(|_| Key(rng.random())).collect();
            let filter = filter(&mut keys);
            assert_eq!(Filter::read(&filter.write().collect::<Vec<_>>().concat()), filter);
        }
        assert!(!filter(&mut []).may_hold(&Key(rng.random())));
    }

    #[test]
    fn the_keys_of_a_block_share_all_its_room() {
        for keys in 1..=MOST {
            let (mut next, mut narrowest) = (FIRST + keys, WIDEST + 1);
            for at in 0..keys {
                let (first, width) = Remainders::of(keys).get(at);
                assert!(first == next && (1..=narrowest).contains(&width), "key {at} of {keys}");
                (next, narrowest) = (first + width, width);
            }
            assert!(next == BLOCK * 8 || narrowest == WIDEST, "{keys} keys end at {next}");
        }
    }
}
