//! What a group of the log changes besides its events: legs, calls, coverage, and what consumers are through with.
//!
//! All of it is in the state as of a checkpoint, and after that only here. What it says of a thing is all there is to say of
//! it. It is written by `postcard`, behind one byte with the number of its format; a program reads its own and the one before.
//! Must not know how groups are written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::consumer::Progress;
use crate::domain::leg::{Call, Leg};
use crate::domain::name::SinkName;
use crate::log::{ConsumerNumber, Offset};
use crate::state::Coverage;

/// The number of the format that this program writes, and the only one so far that it reads.
const FORMAT: u8 = 1;

/// What a group changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Changes {
    /// Legs, the newest state of each.
    pub(super) legs: Vec<Arc<Leg>>,
    /// Calls, the newest state of each.
    pub(super) calls: Vec<Call>,
    /// Until when events of accounts could arrive.
    pub(super) coverage: Vec<Coverage>,
    /// Consumers that are new.
    pub(super) consumers: Vec<NewConsumer>,
    /// What consumers are through with, or failed with.
    pub(super) progress: Vec<(ConsumerNumber, Progress)>,
    /// The clock of the store, if it is to be written down: how far it is behind UTC, and what it reads, in microseconds.
    pub(super) clock: Option<(i64, i64)>,
}

/// A consumer that is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NewConsumer {
    pub(super) number: ConsumerNumber,
    pub(super) name: SinkName,
    /// The first event that it may be owed.
    pub(super) begin: Offset,
}

/// Why changes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Another program wrote them.
    #[error(
        "the changes in a group have format {0}, and this program reads format {FORMAT}; run the version that wrote them"
    )]
    Format(u8),
    /// They are not what was written.
    #[error("the changes in a group cannot be read")]
    Damaged,
}

impl Changes {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Writes them; nothing where there are none.
    pub(super) fn encode(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    /// Reads them.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        match bytes.split_first() {
            None => Ok(Self::default()),
            Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|_| Unreadable::Damaged),
            Some((format, _)) => Err(Unreadable::Format(*format)),
        }
    }
}
