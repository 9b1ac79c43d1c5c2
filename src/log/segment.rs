//! Segments: the files of the log. Each begins with a header; a sealed one ends with an index and a trailer.
//!
//! The header takes the first 4,096 bytes, so that no record shares a page with it:
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | `ONSIPLOG` |
//! | 8–11 | [`FORMAT`] |
//! | 12–15 | zero |
//! | 16–31 | the id of the store, which the state has, too |
//! | 32–39 | its number, which its name repeats; the next segment has the next number |
//! | 40–47 | offset of the first event that it may hold |
//! | 48–55 | number of the oldest segment that was kept when this one was begun |
//! | 56–59 | CRC-32 of bytes 0–55 |
//!
//! The trailer takes the last 16 bytes: the position of the index record (8), its CRC-32 begun with the header's (4), and
//! `SEAL`. Must not know how segments follow each other.

use serde::{Deserialize, Serialize};

use super::entry::{ConsumerNumber, Group};
use super::record::{self, Seed};
use super::{Offset, StoreId};

/// The number of the format that this program writes, and the only one so far that it reads.
pub const FORMAT: u32 = 1;
/// Bytes of the header.
pub(super) const HEADER: usize = 4096;
/// Bytes of the trailer.
pub(super) const TRAILER: usize = 16;
/// Bytes between two places that an index names.
const STRIDE: u64 = 256 * 1024;
/// Bytes that a place or a consumer takes in an index at most.
const INDEX_LINE: u64 = 32;

const MAGIC: [u8; 8] = *b"ONSIPLOG";
const SEAL: [u8; 4] = *b"SEAL";
const CHECKED: usize = 56;
const SUFFIX: &str = ".segment";

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) store: StoreId,
    pub(super) number: u64,
    pub(super) first: Offset,
    pub(super) oldest: u64,
}

/// Why the header of a segment cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// It is no segment, or its header is damaged.
    Invalid,
    /// A program with another format made it.
    Format(u32),
}

impl Header {
    pub(super) fn write(self) -> (Vec<u8>, Seed) {
        let mut bytes = vec![0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.oldest.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..CHECKED]);
        bytes[CHECKED..CHECKED + 4].copy_from_slice(&sum.to_le_bytes());
        (bytes, Seed(sum))
    }

    pub(super) fn read(bytes: &[u8]) -> Result<(Self, Seed), HeaderFault> {
        let bytes: &[u8; CHECKED + 4] = bytes.first_chunk().ok_or(HeaderFault::Invalid)?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        if bytes[..8] != MAGIC {
            return Err(HeaderFault::Invalid);
        }
        let sum = crc32fast::hash(&bytes[..CHECKED]);
        if sum != short(CHECKED) {
            return Err(HeaderFault::Invalid);
        }
        if short(8) != FORMAT {
            return Err(HeaderFault::Format(short(8)));
        }
        let store = StoreId(u128::from(number(16)) | u128::from(number(24)) << 64);
        Ok((Self { store, number: number(32), first: Offset(number(40)), oldest: number(48) }, Seed(sum)))
    }
}

/// Returns the name of the segment with this number.
pub(super) fn name(number: u64) -> String {
    format!("{number:010}{SUFFIX}")
}

/// Returns the number of the segment with this name, if it is one's name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (self::name(number) == name).then_some(number)
}

/// A place in a segment from which it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The first event of the record.
    pub(super) offset: Offset,
    /// Where the record begins.
    pub(super) position: u64,
    /// When it was committed.
    pub(super) committed: i64,
}

/// How much of a segment a consumer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The consumer.
    pub consumer: ConsumerNumber,
    /// Events that were appended for it.
    pub events: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
}

/// The index of a segment: it tells of its records without their being read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    /// The offset after its last event.
    pub(super) end: Offset,
    /// When its last record was committed.
    pub(super) committed: i64,
    /// The number of the oldest segment that was kept, as its newest record of retention says.
    pub(super) oldest: u64,
    /// Places some 256 KiB apart, in order; the first is that of the first record.
    pub(super) places: Vec<Place>,
    /// Consumers in the order of their numbers.
    pub(super) shares: Vec<Share>,
}

impl Index {
    pub(super) fn new(header: Header) -> Self {
        Self { end: header.first, committed: i64::MIN, oldest: header.oldest, ..Self::default() }
    }

    /// Takes notice of a record at `position`.
    pub(super) fn add(&mut self, header: record::Header, position: u64) {
        self.committed = self.committed.max(header.committed);
        if self.places.last().is_none_or(|last| position >= last.position + STRIDE) {
            self.places.push(Place { offset: header.first, position, committed: header.committed });
        }
        self.end = Offset(header.first.0 + u64::from(header.events));
    }

    /// Takes notice of the events of a record.
    pub(super) fn add_events(&mut self, group: &Group) {
        for entry in &group.entries {
            for consumer in &entry.consumers {
                let at = self.shares.binary_search_by_key(consumer, |share| share.consumer).unwrap_or_else(|at| {
                    self.shares.insert(at, Share { consumer: *consumer, events: 0, bytes: 0 });
                    at
                });
                self.shares[at].events += 1;
                self.shares[at].bytes += entry.body.len() as u64;
            }
        }
    }

    /// Returns when its newest record was committed, if it has any.
    pub(super) fn newest(&self) -> Option<i64> {
        (self.committed > i64::MIN).then_some(self.committed)
    }

    /// Returns the bytes that sealing takes at most, should a record that names `consumers` more come before.
    pub(super) fn room(&self, consumers: usize) -> u64 {
        let lines = self.places.len() + self.shares.len() + consumers + 2;
        record::size(0) as u64 + TRAILER as u64 + lines as u64 * INDEX_LINE
    }

    /// Returns the newest place that is not beyond the event at `offset`.
    pub(super) fn place(&self, offset: Offset) -> Option<Place> {
        let after = self.places.partition_point(|place| place.offset <= offset);
        self.places.get(after.checked_sub(1)?).copied()
    }

    /// Returns the newest place that is not beyond any record at `offset`: there may be many without an event before the one
    /// that has it.
    pub(super) fn place_before(&self, offset: Offset) -> Option<Place> {
        let at = self.places.partition_point(|place| place.offset < offset);
        self.places.get(at.saturating_sub(1)).copied()
    }
}

/// Returns the index record and the trailer that seal a segment whose records end at `position`.
pub(super) fn seal(index: &Index, seed: Seed, position: u64) -> Result<Vec<u8>, postcard::Error> {
    let mut bytes = postcard::to_extend(index, vec![0; record::HEADER])?;
    let header = record::Header { kind: record::Kind::Index, first: index.end, events: 0, committed: index.committed };
    record::complete(&mut bytes, seed, header);
    let mut trailer = position.to_le_bytes().to_vec();
    let mut digest = crc32fast::Hasher::new_with_initial(seed.0);
    digest.update(&trailer);
    trailer.extend_from_slice(&digest.finalize().to_le_bytes());
    trailer.extend_from_slice(&SEAL);
    bytes.append(&mut trailer);
    Ok(bytes)
}

/// Returns the position of the index, if `bytes` are the trailer of a sealed segment.
pub(super) fn index_position(bytes: &[u8], seed: Seed) -> Option<u64> {
    let bytes: &[u8; TRAILER] = bytes.try_into().ok()?;
    let mut digest = crc32fast::Hasher::new_with_initial(seed.0);
    digest.update(&bytes[..8]);
    let valid = bytes[8..12] == digest.finalize().to_le_bytes() && bytes[12..] == SEAL;
    valid.then(|| u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_record_at_an_offset_is_passed_over_however_many_have_no_event() {
        let header = Header { store: StoreId(1), number: 1, first: Offset(1), oldest: 1 };
        let mut index = Index::new(header);
        let record =
            |first, events| record::Header { kind: record::Kind::Group, first: Offset(first), events, committed: 0 };
        for (n, (first, events)) in [(1, 5), (6, 0), (6, 0), (6, 0), (6, 3), (9, 1)].into_iter().enumerate() {
            index.add(record(first, events), HEADER as u64 + n as u64 * STRIDE);
        }
        let number = |place: Option<Place>| place.map(|place| (place.position - HEADER as u64) / STRIDE);
        assert_eq!(number(index.place(Offset(6))), Some(4), "the event");
        for (offset, first) in [(0, 0), (1, 0), (5, 0), (6, 0), (7, 4), (9, 4), (10, 5)] {
            assert_eq!(number(index.place_before(Offset(offset))), Some(first), "{offset}");
        }
        assert_eq!(Index::new(header).place_before(Offset(6)), None);
    }
}
