//! How a sink is delivered to: the keys every sink has besides its own.

use std::time::Duration;

use super::{Delivery, WhenFull};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind};

/// How long a delivery may take.
pub(super) const TIMEOUT: Key = Key {
    name: "timeout",
    kind: Kind::Duration { min: Duration::from_millis(100) },
    absent: Absent::Default("10s"),
    help: "A delivery without an answer for so long is given up and tried again.",
};
/// How large the queue may be.
pub(super) const MAX_QUEUE: Key = Key {
    name: "max_queue",
    kind: Kind::Bytes { min: 1 },
    absent: Absent::Default("1GiB"),
    help: "How much may wait for the sink, in bytes of events; beyond it `when_full` applies.",
};
/// How old events may be.
pub(super) const MAX_AGE: Key = Key {
    name: "max_age",
    kind: Kind::Duration { min: Duration::from_secs(1) },
    absent: Absent::Default("7d"),
    help: "What waits for the sink longer than this is dropped and counted.",
};
/// What a full queue does.
pub(super) const WHEN_FULL: Key = Key {
    name: "when_full",
    kind: Kind::OneOf(&["drop_oldest", "block"]),
    absent: Absent::Default("drop_oldest"),
    help: "drop_oldest: the oldest events are dropped for this sink and counted. block: receiving stops for all sinks until there is room.",
};
/// How fast a backlog is drained.
pub(super) const BACKLOG_RATE: Key = Key {
    name: "backlog_rate",
    kind: Kind::Whole { min: 0, max: 1_000_000 },
    absent: Absent::Default("1000"),
    help: "Events per second at most from what had piled up when the sink came back; fresh events go beside it. 0: without a limit.",
};
/// How often it is tried out.
pub(super) const CANARY: Key = Key {
    name: "canary",
    kind: Kind::Duration { min: Duration::from_secs(1) },
    absent: Absent::Fine,
    help: "How often an event of the type com.onsip.canary is made for this sink alone, whatever its rule, to see how long it takes; by default never.",
};

impl Delivery {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        Some(Self {
            timeout: section.duration(TIMEOUT.name)?,
            max_queue: section.bytes(MAX_QUEUE.name)?,
            max_age: section.duration(MAX_AGE.name)?,
            when_full: match section.get::<String>(WHEN_FULL.name)?.as_str() {
                "block" => WhenFull::Block,
                _ => WhenFull::DropOldest,
            },
            backlog_rate: section.whole(BACKLOG_RATE.name)?,
            canary: section.duration(CANARY.name),
        })
    }
}
