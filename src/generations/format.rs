//! The file of a generation: a header, three tables of records, and for each table a summary that is held in memory.
//!
//! All numbers are little-endian. The header takes the first 4,096 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | `ONSIPGEN` |
//! | 8–11 | [`FORMAT`] |
//! | 12–15 | zero |
//! | 16–31 | the id of the store, which the state has, too |
//! | 32–39 | its number, which its name repeats |
//! | 40–47 | length of the file |
//! | 48–95, 96–143, 144–191 | the tables of ids, of ended legs and of past calls |
//! | 192–195 | CRC-32 (IEEE) of bytes 0–191 |
//! | 196–4095 | zero |
//!
//! A later format has the same bytes 0–11, and the checksum of bytes 0–191 in the same place, so that each program can tell
//! which it is.
//!
//! | bytes of a table | what |
//! |---|---|
//! | 0–7 | number of records |
//! | 8–15 | position of the first block of records, a multiple of 4,096 |
//! | 16–23 | position of the summary |
//! | 24–31 | time of the oldest record (microseconds since 1970, UTC) |
//! | 32–39 | time of the newest record: no record is newer |
//! | 40–43 | CRC-32 of the summary, begun with the seed |
//! | 44–47 | bytes of a record: 12, 20 or 25 |
//!
//! Of an empty table all but the last are zero. Tables lie in the order of the header, first all records, then all summaries.
//!
//! A record is a key of 12 bytes, and in the tables of legs and calls a value (`value.rs`). The time of ids and calls is that
//! of an event, the time of a leg is its end. The records of a table are in the order of their keys, each key once, in blocks of
//! 341, 204 or 163; only the last block has fewer. Block `i` is 4,096 × `i` bytes behind the first one:
//!
//! | bytes of a block of `n` bytes of records | what |
//! |---|---|
//! | 0–(`n` − 1) | records |
//! | `n`–(`n` + 3) | CRC-32 of the position of the block (8 bytes) and of the records, begun with the seed |
//! | the others | zero |
//!
//! A summary is the filter of the table (`filter.rs`), and behind it the first key of each block of records, so that a look-up
//! reads one block and no more. The *seed* is the CRC-32 of bytes 0–39 of the header: with it no block is valid in another
//! file. Must not know which generations there are.

use super::filter;
use super::key::KEY;
use super::value::{self, PastCall};
use crate::domain::identity::StoreId;

/// The number of the format that this program writes, and the only one so far that it reads.
pub const FORMAT: u32 = 1;
/// Bytes of the header.
pub(super) const HEADER: usize = 4096;
/// Bytes from one block of records to the next.
pub(super) const BLOCK: usize = 4096;
/// Bytes of a checksum.
pub(super) const SUM: usize = 4;
/// Bytes of a record at most.
pub(super) const LARGEST: usize = KEY + PastCall::BYTES;

const MAGIC: [u8; 8] = *b"ONSIPGEN";
const SUFFIX: &str = ".generation";
const SEEDED: usize = 40;
const TABLES: usize = 48;
const TABLE: usize = 48;
const CHECKED: usize = TABLES + Kind::COUNT * TABLE;

/// What a generation remembers: each kind has a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The ids of events. Nothing else is known of them.
    Id,
    /// Legs that have ended.
    Leg,
    /// Calls to which nothing happens any more.
    Call,
}

impl Kind {
    /// The number of kinds.
    pub(super) const COUNT: usize = 3;
    /// Every kind, in the order of the tables.
    pub(super) const ALL: [Self; Self::COUNT] = [Self::Id, Self::Leg, Self::Call];

    /// Bytes of a record.
    pub(super) const fn width(self) -> usize {
        match self {
            Self::Id => KEY,
            Self::Leg => KEY + value::LEG,
            Self::Call => LARGEST,
        }
    }

    /// Records of a block.
    pub(super) const fn per_block(self) -> u64 {
        ((BLOCK - SUM) / self.width()) as u64
    }

    /// Blocks of a table of `count` records.
    pub(super) const fn blocks(self, count: u64) -> u64 {
        count.div_ceil(self.per_block())
    }

    /// Bytes that a table of `count` records takes at most, with its summary.
    pub(super) const fn room(self, count: u64) -> u64 {
        self.blocks(count) * BLOCK as u64 + self.summary(count)
    }

    /// Bytes of the summary of a table of `count` records.
    pub(super) const fn summary(self, count: u64) -> u64 {
        filter::blocks(count) * filter::BLOCK as u64 + self.blocks(count) * KEY as u64
    }
}

/// The header of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) store: StoreId,
    pub(super) number: u64,
    /// Bytes of the file.
    pub(super) length: u64,
    /// One for each of [`Kind::ALL`].
    pub(super) tables: [TableHeader; Kind::COUNT],
}

/// What the header says of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TableHeader {
    pub(super) count: u64,
    /// Where the records begin.
    pub(super) records: u64,
    /// Where the summary begins.
    pub(super) summary: u64,
    pub(super) oldest: i64,
    pub(super) newest: i64,
    /// The checksum of the summary.
    pub(super) sum: u32,
}

/// Why a header cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// It is none of a generation, or it is damaged.
    Invalid,
    /// A program with another format made it.
    Format(u32),
}

/// The checksum with which those of a generation begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(u32);

impl Seed {
    /// Begins a checksum.
    pub(super) fn begin(self) -> crc32fast::Hasher {
        crc32fast::Hasher::new_with_initial(self.0)
    }

    /// Returns the checksum of a block of records at `position`.
    pub(super) fn of_block(self, position: u64, records: &[u8]) -> [u8; SUM] {
        let mut sum = self.begin();
        sum.update(&position.to_le_bytes());
        sum.update(records);
        sum.finalize().to_le_bytes()
    }
}

impl Header {
    /// Begins the header of an empty generation.
    pub(super) fn new(store: StoreId, number: u64) -> Self {
        Self { store, number, length: HEADER as u64, tables: <[TableHeader; Kind::COUNT]>::default() }
    }

    pub(super) fn seed(&self) -> Seed {
        Seed(crc32fast::hash(&self.write()[..SEEDED]))
    }

    /// Returns its bytes, as far as they are not zero.
    pub(super) fn write(&self) -> [u8; CHECKED + SUM] {
        let mut bytes = [0; CHECKED + SUM];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.length.to_le_bytes());
        for ((bytes, table), kind) in bytes[TABLES..CHECKED].chunks_exact_mut(TABLE).zip(&self.tables).zip(Kind::ALL) {
            bytes[..8].copy_from_slice(&table.count.to_le_bytes());
            bytes[8..16].copy_from_slice(&table.records.to_le_bytes());
            bytes[16..24].copy_from_slice(&table.summary.to_le_bytes());
            bytes[24..32].copy_from_slice(&table.oldest.to_le_bytes());
            bytes[32..40].copy_from_slice(&table.newest.to_le_bytes());
            bytes[40..44].copy_from_slice(&table.sum.to_le_bytes());
            bytes[44..48].copy_from_slice(&u32::try_from(kind.width()).unwrap_or_default().to_le_bytes());
        }
        let sum = crc32fast::hash(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let bytes: &[u8; CHECKED + SUM] = bytes.first_chunk().ok_or(HeaderFault::Invalid)?;
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..CHECKED]) != u32::from_le_bytes(part(bytes, CHECKED)) {
            return Err(HeaderFault::Invalid);
        }
        match u32::from_le_bytes(part(bytes, 8)) {
            FORMAT => {}
            found => return Err(HeaderFault::Format(found)),
        }
        let number = |at| u64::from_le_bytes(part(bytes, at));
        let table = |index: usize| {
            let at = TABLES + index * TABLE;
            TableHeader {
                count: number(at),
                records: number(at + 8),
                summary: number(at + 16),
                oldest: i64::from_le_bytes(part(bytes, at + 24)),
                newest: i64::from_le_bytes(part(bytes, at + 32)),
                sum: u32::from_le_bytes(part(bytes, at + 40)),
            }
        };
        Ok(Self {
            store: StoreId(u128::from_le_bytes(part(bytes, 16))),
            number: number(32),
            length: number(40),
            tables: std::array::from_fn(table),
        })
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..].first_chunk().copied().unwrap_or([0; N])
}

/// Returns the name of the generation with this number.
pub(super) fn name(number: u64) -> String {
    format!("{number:010}{SUFFIX}")
}

/// Returns the number of the generation with this name, if it is one's name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (self::name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let mut header = Header::new(StoreId(u128::MAX / 3), 42);
        header.length = 99_999;
        for (table, at) in header.tables.iter_mut().zip(1..) {
            let (sum, oldest) = (u32::MAX / 7 * at, -i64::from(at));
            *table = TableHeader { count: 10, records: 4096, summary: 8192, oldest, newest: 1 << 50, sum };
        }
        header
    }

    #[test]
    fn a_header_reads_as_it_was_written_and_only_unchanged() {
        let bytes = header().write();
        assert_eq!(Header::read(&bytes), Ok(header()));
        for length in 0..CHECKED + SUM {
            assert_eq!(Header::read(&bytes[..length]), Err(HeaderFault::Invalid), "cut to {length}");
        }
        for bit in 0..(CHECKED + SUM) * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&flipped), Err(HeaderFault::Invalid), "bit {bit}");
        }
    }

    #[test]
    fn a_record_takes_as_many_bytes_as_was_promised() {
        let per_record = |kind: Kind| {
            let count = 3_000_000;
            f64::from(u32::try_from(kind.room(count)).unwrap()) / f64::from(u32::try_from(count).unwrap())
        };
        let [id, leg, call] = Kind::ALL.map(per_record);
        assert!(id <= 14.0 && leg <= 22.0 && call <= 27.0, "{id} {leg} {call}");
        assert_eq!(Kind::ALL.map(|kind| (kind.width(), kind.per_block())), [(12, 341), (20, 204), (25, 163)]);
    }

    #[test]
    fn only_the_name_of_a_generation_has_a_number() {
        assert_eq!((name(42), number_of("0000000042.generation")), ("0000000042.generation".to_owned(), Some(42)));
        assert_eq!(number_of(&name(u64::MAX)), Some(u64::MAX));
        for name in ["42.generation", "00000000042.generation", "0000000042.segment", "+000000042.generation", ""] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }
}
