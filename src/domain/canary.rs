//! Canaries: events that the router makes itself, now and then and for one sink, to show that the way to it is open.
//!
//! Must not know the queue, nor how a sink is delivered to.

use std::time::Duration;

use jiff::Timestamp;

use super::event::{CanaryData, DataContentType, DataSchema, Event, EventData, EventType, SpecVersion};
use super::identity::Token;
use super::moment::Moment;
use super::name::SinkName;

/// What the partition key of a canary begins with; that of a call is a token, and that of a gap begins with another word.
const PREFIX: &str = "canary:";

/// How long one that is not delivered waits until another one takes its place.
const REPLACED: Duration = Duration::from_mins(1);

/// The canaries of one sink.
#[derive(Clone, Debug)]
pub struct Canary {
    sink: SinkName,
    every: Duration,
    due: Moment,
}

impl Canary {
    /// One at once, and then one for each time that `every` has passed.
    #[must_use]
    pub fn new(sink: SinkName, every: Duration, now: Moment) -> Self {
        Self { sink, every, due: now }
    }

    /// Whether events with this partition key are canaries.
    #[must_use]
    pub fn is_one(partition: &str) -> bool {
        partition.starts_with(PREFIX)
    }

    /// Returns the partition key of all canaries of a sink.
    #[must_use]
    pub fn partition_of(sink: &SinkName) -> String {
        format!("{PREFIX}{sink}")
    }

    /// Returns the partition key of all canaries of this sink.
    #[must_use]
    pub fn partition(&self) -> String {
        Self::partition_of(&self.sink)
    }

    /// When the next one is due.
    #[must_use]
    pub fn due(&self) -> Moment {
        self.due
    }

    /// Passes over the one that is due at `now`: an earlier one waits among other events.
    pub fn pass_over(&mut self, now: Moment) {
        self.due = now + self.every.min(REPLACED);
    }

    /// Returns the one that is due at `now`. While an earlier one is `waiting` the next is due soon and takes its place, so that
    /// none grows old: late is what somebody waits for.
    pub fn next(&mut self, waiting: bool, now: Moment) -> Option<Event> {
        if now < self.due {
            return None;
        }
        self.due = now + if waiting { self.every.min(REPLACED) } else { self.every };
        Some(self.event(now.utc()))
    }

    /// The event. Its sequence is the time, so it goes on after a restart.
    fn event(&self, now: Timestamp) -> Event {
        Event {
            specversion: SpecVersion::V1,
            id: Token::of(["canary", self.sink.as_str(), &now.as_microsecond().to_string()]),
            source: format!("onsip-router:{}", self.sink),
            r#type: EventType::Canary,
            time: now,
            subject: self.sink.to_string(),
            datacontenttype: DataContentType::Json,
            dataschema: DataSchema::V1,
            sequence: format!("{:010}", now.as_second()),
            partitionkey: self.partition(),
            data: EventData::Canary(Box::new(CanaryData {
                sink: self.sink.to_string(),
                sent_at: now,
                interval_seconds: self.every.as_secs_f64(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        let epoch: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let since = Duration::from_secs(seconds);
        Moment::virtual_at(since, epoch + since)
    }

    fn canary() -> Canary {
        Canary::new("crm".parse().unwrap(), Duration::from_mins(1), at(0))
    }

    #[test]
    fn one_is_due_at_once_and_the_next_when_the_interval_has_passed() {
        let mut canary = canary();
        let first = canary.next(false, at(0)).unwrap();
        assert_eq!(canary.due(), at(60));
        assert!(canary.next(false, at(59)).is_none());
        let second = canary.next(false, at(61)).unwrap();
        assert_eq!(canary.due(), at(121), "what was late is not made up for");
        assert_ne!(first.id, second.id);
        assert!(first.sequence < second.sequence);
    }

    #[test]
    fn one_that_waits_is_replaced_before_it_is_old() {
        let mut canary = Canary::new("crm".parse().unwrap(), Duration::from_hours(1), at(0));
        let first = canary.next(false, at(0)).unwrap();
        assert_eq!(canary.due(), at(3600));
        assert_ne!(canary.next(true, at(3600)).unwrap().id, first.id);
        assert_eq!(canary.due(), at(3660));
        assert!(canary.next(true, at(3660)).is_some());
        assert!(canary.next(false, at(3720)).is_some());
        assert_eq!(canary.due(), at(7320), "it was delivered: the usual time again");
    }

    #[test]
    fn it_is_of_its_sink_and_known_by_its_type_and_its_partition() {
        let event = canary().next(false, at(0)).unwrap();
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["type"], "com.onsip.canary");
        assert_eq!((&json["subject"], &json["data"]["sink"]), (&"crm".into(), &"crm".into()));
        assert_eq!(json["data"]["interval_seconds"], 60.0);
        assert_eq!(event.received_at(), at(0).utc());
        assert!(Canary::is_one(&event.partitionkey) && !Canary::is_one("gap:canary") && !Canary::is_one("0f8d"));
    }
}
