//! What goes into the queue and comes out of it: events on their way to sinks, and how their deliveries ended.
//!
//! Must not know how any of it is stored.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::identity::Token;
use crate::domain::name::SinkName;

/// One event on its way into the queue.
#[derive(Clone, Debug)]
pub struct CommitEvent {
    /// Its id; one that is already known is not written again.
    pub id: Token,
    /// Its partition key: order is kept within it.
    pub partition: String,
    /// When the stanza was read.
    pub received: Timestamp,
    /// The event as JSON, without a line break.
    pub body: Arc<str>,
    /// The sinks it is owed to.
    pub owed: Vec<SinkName>,
}

/// One event owed to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Position in the queue; settles refer to it.
    pub position: i64,
    /// The event's id.
    pub id: Token,
    /// Its partition key.
    pub partition: String,
    /// When the stanza was read.
    pub received: Timestamp,
    /// Tries so far.
    pub attempts: u32,
    /// When the first of them failed.
    pub failing_since: Option<Timestamp>,
    /// The event as JSON, without a line break.
    pub body: Arc<str>,
    /// Whether all that is what was once written. If not, nothing of it may leave.
    pub intact: bool,
}

/// How one delivery ended, as the queue must remember it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The sink has it.
    Delivered,
    /// It was tried and stays owed.
    Retried,
    /// Given up: kept as a dead letter with the reason.
    Dead {
        /// Why, free of secrets.
        reason: String,
    },
}

/// A part of the queue of one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Only beyond this position.
    pub after: i64,
    /// Only up to this position.
    pub until: i64,
    /// Not of these calls (partition keys).
    pub without: Vec<Arc<str>>,
    /// Only events with no owed event of the same call both before them and below this position.
    pub first_below: Option<i64>,
    /// So many at most.
    pub limit: usize,
}

/// What a queue may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the bodies; absent: any number.
    pub bytes: Option<u64>,
    /// What was received before this goes.
    pub received: Timestamp,
}

impl Bounds {
    /// Returns whether a queue of so many bytes, whose oldest event was received then, is beyond them.
    #[must_use]
    pub fn exceeded(&self, bytes: u64, oldest: Option<Timestamp>) -> bool {
        self.bytes.is_some_and(|most| bytes > most) || oldest.is_some_and(|oldest| oldest < self.received)
    }
}

/// What a queue that was beyond its bounds lost in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Events that went because there were too many bytes.
    pub full: u64,
    /// Events that went because of their age.
    pub age: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// Counts what operators did to the queue of a sink, as far as the counters show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Dead letters that are owed again.
    pub retried: u64,
    /// Owed events that are gone.
    pub purged: u64,
    /// Dead letters that are gone.
    pub purged_dead: u64,
}

/// How much a sink is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Events not yet acknowledged.
    pub events: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Receipt of the oldest of them.
    pub oldest: Option<Timestamp>,
    /// Dead letters.
    pub dead: u64,
    /// Events of those not acknowledged that were read, and are in hand, failed, or of a held call.
    pub pending: usize,
}
