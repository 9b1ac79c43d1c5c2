//! Stable tokens: the same thing always gets the same one, whoever sees it and however often.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::name::{ItemId, NodeName};
use super::service::Service;

/// 128 bits of a SHA-256 as 32 hex digits. Opaque; equal parts in equal order give equal tokens.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// The token of `parts`; every part is delimited, so `["ab"]` and `["a", "b"]` differ.
    #[must_use]
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut text = String::with_capacity(32);
        for byte in &hash.finalize()[..16] {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        }
        Self(text)
    }

    /// The token of a leg: one published item of one node of one service.
    #[must_use]
    pub fn of_leg(service: &Service, node: &NodeName, item: &ItemId) -> Self {
        Self::of(["leg", service.jid().as_str(), node.as_str(), item.as_str()])
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Token {
    /// Takes a token back from where it was written down.
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_delimited() {
        assert_ne!(Token::of(["ab", "c"]), Token::of(["a", "bc"]));
        assert_ne!(Token::of(["ab"]), Token::of(["a", "b"]));
        assert_eq!(Token::of(["a", "b"]).as_str().len(), 32);
    }
}
