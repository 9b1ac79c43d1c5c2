//! A token as a key of a table: most are 32 hex digits, which take half the room as bytes.

use crate::domain::identity::Token;

/// The bytes of the digits; of what is no number, or of another length, the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// What 32 hex digits stand for.
    Digits([u8; 16]),
    /// Anything else.
    Other(Vec<u8>),
}

impl Key {
    /// The key of a token that was written as `text`.
    pub(super) fn of(text: &str) -> Self {
        let text = text.as_bytes();
        let mut digits = [0; 16];
        if text.len() == 2 * digits.len() && decode(text, &mut digits).is_some() {
            return Self::Digits(digits);
        }
        let mut bytes = vec![0; text.len() / 2];
        let decoded = text.len().is_multiple_of(2).then(|| decode(text, &mut bytes)).flatten();
        Self::from(decoded.map_or_else(|| text.to_vec(), |()| bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Digits(bytes) => bytes,
            Self::Other(bytes) => bytes,
        }
    }
}

impl From<&Token> for Key {
    fn from(token: &Token) -> Self {
        Self::of(token.as_str())
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        match bytes.try_into() {
            Ok(digits) => Self::Digits(digits),
            Err(bytes) => Self::Other(bytes),
        }
    }
}

/// Writes what pairs of hex digits stand for, if they all are.
fn decode(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (pair, byte) in text.chunks_exact(2).zip(bytes) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_its_digits_stand_for_or_the_text() {
        let digits: Vec<u8> = (0..16).map(|n| n * 17).collect();
        assert_eq!(Key::of("00112233445566778899aAbbccddeeff"), Key::from(digits.clone()));
        assert_eq!(Key::of("00112233445566778899aAbbccddeeff").bytes(), digits);
        for text in ["", "0", "abc", "gap:front-office", "00112233445566778899aabbccddeefg", "+1", "é"] {
            assert_eq!(Key::of(text).bytes(), text.as_bytes(), "{text}");
        }
        assert_eq!(Key::of("0aff").bytes(), [10, 255]);
    }
}
