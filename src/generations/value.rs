//! Values: what is remembered of an ended leg, and of a call, beside its key. All numbers are little-endian.
//!
//! | bytes of an ended leg | what |
//! |---|---|
//! | 0–3 | when it ended: whole seconds since 2020-01-01 00:00 UTC, rounded up |
//! | 4–6 | short fingerprint of its call |
//! | 7 | bit 0: it was never seen; bit 1: it was answered; bits 2 and 3: 0 unknown direction, 1 inbound, 2 outbound |
//!
//! | bytes of a past call | what |
//! |---|---|
//! | 0–3 | position of its newest event, counted from 1 |
//! | 4–7 | fingerprint of the first leg that was answered, or 0 |
//! | 8–12 | offset of its newest event |
//!
//! A number that is too large for its bytes is stored as the largest one. Must not know keys.

use std::num::NonZeroU32;

use jiff::Timestamp;

use super::key::{Fingerprint, KEY, ShortFingerprint};
use crate::domain::event::Direction;
use crate::domain::identity::Token;
use crate::domain::leg::{Call, EndedLeg};

/// Microseconds from 1970 to 2020.
const EPOCH: i64 = 1_577_836_800 * SECOND;
const SECOND: i64 = 1_000_000;

/// What is remembered of a call to which nothing happens any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastCall {
    /// Position of its newest event, counted from 1.
    pub sequence: u32,
    /// The first leg that was answered.
    pub answered_by: Option<Fingerprint>,
    /// Offset of its newest event.
    pub newest: u64,
}

/// Bytes that an ended leg takes.
pub(super) const LEG: usize = 8;

pub(super) fn write_leg(leg: &EndedLeg) -> [u8; LEG] {
    let seconds = leg.ended.as_second() - EPOCH / SECOND + i64::from(leg.ended.subsec_nanosecond() > 0);
    let [s0, s1, s2, s3] = u32::try_from(seconds.max(0)).unwrap_or(u32::MAX).to_le_bytes();
    let ShortFingerprint([c0, c1, c2]) = leg.call;
    let direction = match leg.direction {
        Direction::Unknown => 0,
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    };
    let flags = u8::from(leg.never_seen) | u8::from(leg.answered) << 1 | direction << 2;
    [s0, s1, s2, s3, c0, c1, c2, flags]
}

/// Takes an ended leg from a record, where it lies behind the key. It is read as ended at the next whole second.
pub(super) fn leg_of_record(record: &[u8]) -> EndedLeg {
    let [s0, s1, s2, s3, c0, c1, c2, flags]: [u8; LEG] = record[KEY..].first_chunk().copied().unwrap_or_default();
    let micros = EPOCH + i64::from(u32::from_le_bytes([s0, s1, s2, s3])) * SECOND;
    EndedLeg {
        ended: Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX),
        call: ShortFingerprint([c0, c1, c2]),
        never_seen: flags & 1 != 0,
        answered: flags & 2 != 0,
        direction: match flags >> 2 & 3 {
            1 => Direction::Inbound,
            2 => Direction::Outbound,
            _ => Direction::Unknown,
        },
    }
}

impl From<&Call> for PastCall {
    fn from(call: &Call) -> Self {
        let sequence = u32::try_from(call.sequence).unwrap_or(u32::MAX);
        Self { sequence, answered_by: call.answered_by, newest: call.newest }
    }
}

impl PastCall {
    /// Makes the call with this partition key of it.
    #[must_use]
    pub fn of(self, partition: &Token) -> Call {
        let Self { sequence, answered_by, newest } = self;
        Call { partition: partition.clone(), sequence: sequence.into(), answered_by, newest }
    }

    /// Bytes that it takes.
    pub(super) const BYTES: usize = 13;
    const LARGEST_OFFSET: u64 = (1 << 40) - 1;

    pub(super) fn write(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.answered_by.map_or(0, |leg| leg.0.get()).to_le_bytes());
        bytes[8..].copy_from_slice(&self.newest.min(Self::LARGEST_OFFSET).to_le_bytes()[..5]);
        bytes
    }

    /// Takes the value from a record, where it lies behind the key.
    pub(super) fn of_record(record: &[u8]) -> Self {
        Self::read(record[KEY..].first_chunk().copied().unwrap_or_default())
    }

    fn read(bytes: [u8; Self::BYTES]) -> Self {
        let [s0, s1, s2, s3, a0, a1, a2, a3, n0, n1, n2, n3, n4] = bytes;
        Self {
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            answered_by: NonZeroU32::new(u32::from_le_bytes([a0, a1, a2, a3])).map(Fingerprint),
            newest: u64::from_le_bytes([n0, n1, n2, n3, n4, 0, 0, 0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(leg: &EndedLeg) -> EndedLeg {
        leg_of_record(&[&[0; KEY][..], &write_leg(leg)].concat())
    }

    #[test]
    fn a_leg_reads_as_it_was_written_but_for_the_fraction_of_its_second() {
        let call = ShortFingerprint::from(&Token::of(["a call"]));
        let at = |micros| Timestamp::from_microsecond(micros).unwrap();
        for direction in [Direction::Unknown, Direction::Inbound, Direction::Outbound] {
            for (never_seen, answered) in [(false, false), (false, true), (true, false)] {
                let leg = EndedLeg { ended: at(EPOCH + 7 * SECOND), call, never_seen, answered, direction };
                assert_eq!(read(&leg), leg);
                let second = at(EPOCH + 6 * SECOND);
                let earlier = EndedLeg { ended: second + std::time::Duration::from_nanos(1), ..leg };
                assert_eq!(read(&earlier), leg, "rounded up");
            }
        }
        let ended = |ended| {
            let leg = EndedLeg { ended, call, never_seen: false, answered: false, direction: Direction::Unknown };
            read(&leg).ended
        };
        assert_eq!((ended(Timestamp::MIN), ended(at(0)), ended(at(EPOCH))), (at(EPOCH), at(EPOCH), at(EPOCH)));
        assert_eq!(ended(Timestamp::MAX), at(EPOCH + i64::from(u32::MAX) * SECOND));
    }

    #[test]
    fn a_call_reads_as_it_was_written() {
        let leg = Fingerprint::from(&Token::of(["a leg"]));
        for answered_by in [None, Some(leg), Some(Fingerprint(NonZeroU32::MIN))] {
            for (sequence, newest) in [(1, 0), (0x0102_0304, 0x01_0203_0405), (u32::MAX, (1 << 40) - 1)] {
                let call = PastCall { sequence, answered_by, newest };
                assert_eq!(PastCall::read(call.write()), call);
            }
        }
        let far = PastCall { sequence: 1, answered_by: None, newest: u64::MAX };
        assert_eq!(PastCall::read(far.write()).newest, (1 << 40) - 1);
    }
}
