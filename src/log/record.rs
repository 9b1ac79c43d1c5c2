//! Records: what is appended as a whole, and is either there as a whole after a crash or not at all.
//!
//! A record is a header of 40 bytes, a body, and zeros up to a multiple of 8 bytes. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0–3 | `RECD` |
//! | 4–7 | length of the body in bytes |
//! | 8–11 | CRC-32 (IEEE) of the segment's header, of bytes 12–39, and of the body |
//! | 12 | kind: 1 group, 2 retention, 3 index, 4 lost |
//! | 13–15 | zero |
//! | 16–23 | offset of the first event in it, or without one, of the event that comes next |
//! | 24–27 | number of events |
//! | 28–31 | zero |
//! | 32–39 | when it was committed: microseconds since 1970, UTC |
//!
//! The checksum includes the segment's header, so that a record is valid in no other segment and no other log. Must not know
//! what a body means.

use super::Offset;

/// Bytes of a header.
pub(super) const HEADER: usize = 40;
/// Bytes that a body may have. A commit has some hundred KiB at most; a larger length is a damaged one.
pub(super) const BODY_BYTES: usize = 16 * 1024 * 1024;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

const MAGIC: [u8; 4] = *b"RECD";

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The events of one commit, and what else it changed.
    Group,
    /// The number of the oldest segment that is kept, eight bytes: those before it may be gone.
    Retention,
    /// The index of a sealed segment.
    Index,
    /// Zeros in place of what a disk had damaged, and a repair has moved away.
    Lost,
}

/// The header of a record, without what only serves to check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) first: Offset,
    pub(super) events: u32,
    /// Microseconds since 1970, UTC.
    pub(super) committed: i64,
}

/// There is no valid record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// The checksum of a segment's header, with which those of its records begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(pub(super) u32);

impl Header {
    fn checked(self) -> [u8; HEADER - 12] {
        let mut bytes = [0; HEADER - 12];
        bytes[0] = match self.kind {
            Kind::Group => 1,
            Kind::Retention => 2,
            Kind::Index => 3,
            Kind::Lost => 4,
        };
        bytes[4..12].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.events.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.committed.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; HEADER - 12]) -> Result<Self, Invalid> {
        let kind = match bytes[0] {
            1 => Kind::Group,
            2 => Kind::Retention,
            3 => Kind::Index,
            4 => Kind::Lost,
            _ => return Err(Invalid),
        };
        let first = Offset(u64::from_le_bytes(part(bytes, 4)));
        let (events, committed) = (u32::from_le_bytes(part(bytes, 12)), i64::from_le_bytes(part(bytes, 20)));
        Ok(Self { kind, first, events, committed })
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

fn checksum(seed: Seed, checked: &[u8], body: &[u8]) -> u32 {
    let mut digest = crc32fast::Hasher::new_with_initial(seed.0);
    digest.update(checked);
    digest.update(body);
    digest.finalize()
}

/// Returns the bytes that a record with a body of `body` bytes takes.
pub(super) const fn size(body: usize) -> usize {
    (HEADER + body).next_multiple_of(ALIGNMENT)
}

/// Puts a record together in `record`, whose first [`HEADER`] bytes are room for the header and whose others are the body.
pub(super) fn complete(record: &mut Vec<u8>, seed: Seed, header: Header) {
    let checked = header.checked();
    let body = &record[HEADER..];
    let (length, sum) = (u32::try_from(body.len()).unwrap_or(u32::MAX), checksum(seed, &checked, body));
    record[..4].copy_from_slice(&MAGIC);
    record[4..8].copy_from_slice(&length.to_le_bytes());
    record[8..12].copy_from_slice(&sum.to_le_bytes());
    record[12..HEADER].copy_from_slice(&checked);
    record.resize(record.len().next_multiple_of(ALIGNMENT), 0);
}

/// Whether a record may begin with these bytes.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Returns the length of the body that `header` announces.
pub(super) fn body_length(header: &[u8]) -> Result<usize, Invalid> {
    if header.len() < HEADER || header[..4] != MAGIC {
        return Err(Invalid);
    }
    let length = u32::from_le_bytes(part(header, 4)) as usize;
    if length <= BODY_BYTES { Ok(length) } else { Err(Invalid) }
}

/// Reads the record whose header and body are the first bytes of `bytes`.
pub(super) fn read(bytes: &[u8], seed: Seed) -> Result<(Header, &[u8]), Invalid> {
    let length = body_length(bytes)?;
    let body = bytes[HEADER..].get(..length).ok_or(Invalid)?;
    let checked = part::<{ HEADER - 12 }>(bytes, 12);
    if checksum(seed, &checked, body) != u32::from_le_bytes(part(bytes, 8)) {
        return Err(Invalid);
    }
    Ok((Header::read(&checked)?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed(7);

    fn record(body: &[u8]) -> (Header, Vec<u8>) {
        let header = Header { kind: Kind::Group, first: Offset(3), events: 2, committed: -5 };
        let mut record = vec![0; HEADER];
        record.extend_from_slice(body);
        complete(&mut record, SEED, header);
        (header, record)
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        for body in [&b""[..], b"1234567", b"12345678", &[0xff; 300]] {
            let (header, record) = record(body);
            assert_eq!((record.len(), record.len() % ALIGNMENT), (size(body.len()), 0));
            assert_eq!(read(&record, SEED), Ok((header, body)));
        }
    }

    #[test]
    fn a_record_is_valid_only_whole_unchanged_and_in_its_segment() {
        let (_, record) = record(b"a body");
        let written = HEADER + 6;
        assert_eq!(read(&record, Seed(8)), Err(Invalid));
        for length in 0..written {
            assert_eq!(read(&record[..length], SEED), Err(Invalid), "cut to {length}");
        }
        for bit in 0..written * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped, SEED), Err(Invalid), "bit {bit}");
        }
    }
}
