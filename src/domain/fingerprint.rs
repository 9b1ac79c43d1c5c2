//! Keys and fingerprints: parts of a token that stand for it where there is no room for all of it.
//!
//! | bits of a token | are |
//! |---|---|
//! | 0–95 | its key |
//! | 96–127 | its fingerprint, or 1 where they are zero |
//! | 104–127 | its short fingerprint |
//!
//! The bits of a token of 32 lowercase hex digits are what these say; those of any other are the first 128 of the SHA-256 of
//! its text. Of 50 million keys two are the same with a probability of 10⁻¹⁴. Must not know what is looked up.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::identity::Token;

/// The first 96 bits of a token, by which it is looked up.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; Key::BYTES]);

impl Key {
    /// Bytes of a key.
    pub const BYTES: usize = 12;

    /// Returns the first 64 bits. Keys are in the order of these, as far as they differ there.
    #[must_use]
    pub fn prefix(&self) -> u64 {
        self.0.first_chunk().map_or(0, |prefix| u64::from_be_bytes(*prefix))
    }

    /// Takes the key with which `record` begins.
    #[must_use]
    pub fn of_record(record: &[u8]) -> Self {
        Self(record.first_chunk().copied().unwrap_or_default())
    }
}

impl From<&Token> for Key {
    fn from(token: &Token) -> Self {
        Self(bits(token).first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// 32 bits of a token that are not in its key. One other token in 4 billion has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub NonZeroU32);

impl From<&Token> for Fingerprint {
    fn from(token: &Token) -> Self {
        let last = bits(token).last_chunk().map_or(0, |last| u32::from_be_bytes(*last));
        Self(NonZeroU32::new(last).unwrap_or(NonZeroU32::MIN))
    }
}

/// 24 bits of a token that are not in its key. One other token in 16 million has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortFingerprint(pub [u8; 3]);

impl From<&Token> for ShortFingerprint {
    fn from(token: &Token) -> Self {
        Self(bits(token).last_chunk().copied().unwrap_or_default())
    }
}

fn bits(token: &Token) -> [u8; 16] {
    let text = token.as_str().as_bytes();
    digits(text).unwrap_or_else(|| Sha256::digest(text).first_chunk().copied().unwrap_or_default())
}

fn digits(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 32] = text.try_into().ok()?;
    let mut bits = [0; 16];
    for (byte, pair) in bits.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bits)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        format!("{:?}", Key::from(&Token::from(text)))
    }

    #[test]
    fn the_bits_of_a_token_are_its_digits_or_else_its_hash() {
        let token = Token::from("0123456789abcdeffedcba9876543210");
        assert_eq!(format!("{:?}", Key::from(&token)), "0123456789abcdeffedcba98");
        assert_eq!(Fingerprint::from(&token).0.get(), 0x7654_3210);
        assert_eq!(ShortFingerprint::from(&token).0, [0x54, 0x32, 0x10]);
        // printf gap:front | sha256sum
        assert_eq!(key("gap:front"), "cb88a90a2f794073fdc2ef1b");
        let (lower, upper) = (key(&"a".repeat(32)), key(&"A".repeat(32)));
        assert_eq!((lower.as_str(), lower == upper), (&*"a".repeat(24), false));
    }

    #[test]
    fn a_fingerprint_is_never_zero() {
        assert_eq!(Fingerprint::from(&Token::from("0".repeat(32))).0.get(), 1);
    }
}
