//! The two content modes of CloudEvents, which protocols with headers let an operator choose from.

use std::str::FromStr;

/// How an event becomes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The whole event is the body, as JSON.
    Structured,
    /// `data` is the body, the attributes are headers or whatever the protocol has for them.
    Binary,
}

impl Mode {
    /// As written.
    pub(super) const WORDS: &'static [&'static str] = &["structured", "binary"];
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "structured" => Ok(Self::Structured),
            "binary" => Ok(Self::Binary),
            _ => Err(()),
        }
    }
}
