//! Whether a row is read as it was written: a flipped bit inside a value is nothing the database itself notices.
//!
//! Must not know any table.

use crc32fast::Hasher;

/// CRC-32 of the values of a row, in the order of its columns. Each is delimited by its length.
#[derive(Default)]
pub(super) struct Checksum(Hasher);

impl Checksum {
    /// Takes a number along.
    pub(super) fn number(mut self, number: i64) -> Self {
        self.0.update(&number.to_be_bytes());
        self
    }

    /// Takes a text along, or bytes.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// Returns what is written down.
    pub(super) fn sum(self) -> i64 {
        self.0.finalize().into()
    }
}

/// Returns the checksum of a key and what belongs to it.
pub(super) fn of(key: &[u8], body: &[u8]) -> i64 {
    Checksum::default().bytes(key).bytes(body).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_counts_and_is_delimited() {
        let all = [of(b"a", b"b"), of(b"x", b"b"), of(b"a", b"x"), of(b"ab", b""), of(b"", b"ab")];
        assert_eq!(std::collections::BTreeSet::from(all).len(), all.len(), "{all:?}");
        assert_ne!(Checksum::default().number(1).sum(), Checksum::default().number(2).sum());
    }
}
