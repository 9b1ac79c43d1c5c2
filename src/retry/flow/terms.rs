//! The terms of a flow: the parts of the queue it asks for, the answers it is told, and what came of them.
//!
//! Must not know what is decided of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Says what to read from the queue for one delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Take {
    /// Held calls whose time has come: they have room for `of_calls` events, and come last, since they may fail again; call
    /// by call, in this order.
    pub calls: Vec<Arc<str>>,
    /// How many events of them.
    pub of_calls: usize,
    /// Calls to leave out of the parts.
    pub without: Vec<Arc<str>>,
    /// Parts of the queue, in this order, each only as far as there is room.
    pub parts: Vec<Part>,
    /// Events in all, at most.
    pub most: usize,
    /// How far to turn the events round before they are delivered: each is of another call where this is not 0.
    pub turned: usize,
}

/// A part of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Only beyond this position.
    pub after: i64,
    /// Only up to this position.
    pub until: i64,
    /// Only events with no owed event of the same call both before them and below this position.
    pub first_below: Option<i64>,
    /// So many at most.
    pub limit: usize,
}

/// Names the kind of a part of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Whatever comes next.
    Rest,
    /// What came after the backlog.
    Fresh,
    /// What was there when the sink came back.
    Backlog,
    /// The oldest event of each of the oldest calls, for a probe.
    Oldest,
    /// The oldest event of each of other calls, for a probe.
    Others,
}

/// How the delivery of one event ended, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The sink took it.
    Passed,
    /// It has to be tried again; the peer may have said after which time.
    Failed(Option<Duration>),
    /// The peer says that it will never take it.
    Refused,
    /// The peer wants nothing more for now.
    Stop,
    /// It is not what was once written, and was not even tried: it goes, and says nothing of the sink.
    Damaged,
}

/// One event that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Its position in the queue.
    pub position: i64,
    /// Its call (partition key).
    pub call: Arc<str>,
    /// How that ended.
    pub answer: Answer,
    /// How often it was tried before.
    pub tries: u32,
    /// How long ago the first of those tries failed, judged by the wall clock.
    pub failing_for: Duration,
    /// How long ago it was received; absent for what is no event of anybody's, as a canary.
    pub age: Option<Duration>,
}

/// Tells what a delivery has led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// What it changed for the sink as a whole.
    pub change: Option<Change>,
    /// The positions of the events that are given up.
    pub dead: BTreeSet<i64>,
}

/// Tells what a delivery changed for the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The sink failed for several calls, and is probed from now on.
    Down,
    /// The sink asked us to stop, and rests.
    Resting,
    /// It works again; say with `Flow::drain` how far its backlog goes.
    Back,
    /// The same for one that had failed for so few calls that it was not taken to be down.
    Freed,
}

impl Part {
    pub(in crate::retry) fn new(
        kind: PartKind,
        after: i64,
        until: i64,
        first_below: Option<i64>,
        limit: usize,
    ) -> Self {
        Self { kind, after, until, first_below, limit }
    }
}

impl Answer {
    /// What the peer asked for.
    pub(super) fn after(self) -> Option<Duration> {
        match self {
            Self::Failed(after) => after,
            Self::Passed | Self::Refused | Self::Stop | Self::Damaged => None,
        }
    }
}
