//! Stable tokens: the same thing always gets the same one, whoever sees it and however often.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::name::{ItemId, NodeName};
use super::service::Service;

/// 128 bits of a SHA-256 as 32 hex digits. Opaque; equal parts in equal order give equal tokens.
///
/// It is handed round a dozen times for each event, so it lies in place and not on the heap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(Text);

/// What a token is made of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Text {
    /// 32 characters of ASCII.
    Digits([u8; 32]),
    /// What was once written down as one and has another length.
    Other(Box<str>),
}

impl Token {
    /// The token of `parts`; every part is delimited, so `["ab"]` and `["a", "b"]` differ.
    #[must_use]
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(hash.finalize()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(Text::Digits(text))
    }

    /// The token of a leg: one published item of one node of one service.
    #[must_use]
    pub fn of_leg(service: &Service, node: &NodeName, item: &ItemId) -> Self {
        Self::of(["leg", service.jid().as_str(), node.as_str(), item.as_str()])
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Digits(digits) => std::str::from_utf8(digits).unwrap_or_default(),
            Text::Other(text) => text,
        }
    }
}

impl Hash for Token {
    /// 64 of its bits are as good as all of them, and are looked up a dozen times for each event.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Text::Digits(digits) => digits.first_chunk::<16>().map_or(0, |half| u128::from_ne_bytes(*half)).hash(state),
            Text::Other(text) => text.hash(state),
        }
    }
}

impl From<&str> for Token {
    /// Takes a token back from where it was written down.
    fn from(text: &str) -> Self {
        match text.as_bytes().try_into() {
            Ok(digits) if text.is_ascii() => Self(Text::Digits(digits)),
            Ok(_) | Err(_) => Self(Text::Other(text.into())),
        }
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(&*Cow::<str>::deserialize(deserializer)?))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The number that a store draws when it is made, so that nothing of another store is ever taken for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId(pub u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_delimited() {
        assert_ne!(Token::of(["ab", "c"]), Token::of(["a", "bc"]));
        assert_ne!(Token::of(["ab"]), Token::of(["a", "b"]));
        assert_eq!(Token::of(["a", "b"]).as_str().len(), 32);
    }

    #[test]
    fn a_token_that_was_written_down_is_the_same_whatever_it_looks_like() {
        assert_eq!(Token::of(["a"]).as_str(), "3b196fd4907bedf51c3090e9835f2f7c");
        for text in ["", "gap:front", &"é".repeat(16), "0123456789abcdef0123456789abcdef"] {
            assert_eq!(Token::from(text).as_str(), text);
            let written = serde_json::to_string(&Token::from(text)).unwrap();
            assert_eq!(serde_json::from_str::<Token>(&written).unwrap(), Token::from(text));
        }
    }
}
