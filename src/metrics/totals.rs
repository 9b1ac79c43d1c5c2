//! What was counted since the start, over all services, types and sinks.
//!
//! Must not know what is done with it.

use std::fmt;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Metrics;
use super::spread::Spread;
use crate::domain::status::{DeliveryOutcome, DropReason, QueueAction};

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Totals {
    /// Events received, duplicates included.
    pub received: u64,
    /// Of them: seen before and not delivered again.
    pub duplicate: u64,
    /// Notifications and items that were no events.
    pub rejected: u64,
    /// Windows in which events may have been missed, once per service.
    pub gaps: u64,
    /// Deliveries that a sink acknowledged.
    pub delivered: u64,
    /// Deliveries that failed and are tried again.
    pub retried: u64,
    /// Deliveries given up.
    pub dead: u64,
    /// Of the deliveries given up, now or before: made owed again by an operator.
    pub revived: u64,
    /// Owed events that an operator removed from the queue.
    pub purged: u64,
    /// Dead letters that an operator removed.
    pub purged_dead: u64,
    /// Events dropped for a sink that was away for too long.
    pub dropped: u64,
}

/// Events that were dropped for one sink since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// Because its queue was larger than `max_queue`.
    pub full: u64,
    /// Because they had waited longer than `max_age`.
    pub age: u64,
}

/// `0`, or by reason: `full: 3, age: 2`.
impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { full: 0, age: 0 } => f.write_str("0"),
            Self { full, age: 0 } => write!(f, "full: {full}"),
            Self { full: 0, age } => write!(f, "age: {age}"),
            Self { full, age } => write!(f, "full: {full}, age: {age}"),
        }
    }
}

impl Totals {
    /// Deliveries that failed.
    pub fn failed(&self) -> u64 {
        self.retried + self.dead
    }
}

impl Metrics {
    /// Everything counted so far.
    pub fn totals(&self) -> Totals {
        let deliveries = self.sink_deliveries.collect();
        let ended = |outcome: DeliveryOutcome| sum(&deliveries, Some(("outcome", outcome.as_str())));
        let changed = self.sink_operator_events.collect();
        let done = |action: QueueAction| sum(&changed, Some(("action", action.as_str())));
        Totals {
            received: sum(&self.events_received.collect(), None),
            duplicate: sum(&self.events_duplicate.collect(), None),
            rejected: sum(&self.events_rejected.collect(), None),
            gaps: sum(&self.gaps.collect(), None),
            delivered: ended(DeliveryOutcome::Delivered),
            retried: ended(DeliveryOutcome::Retried),
            dead: ended(DeliveryOutcome::Dead),
            revived: done(QueueAction::Retried),
            purged: done(QueueAction::Purged),
            purged_dead: done(QueueAction::PurgedDead),
            dropped: sum(&self.sink_dropped.collect(), None),
        }
    }

    /// Returns how many events were dropped for a configured sink, by reason.
    pub fn dropped_for(&self, sink: &str) -> Dropped {
        let count = |reason: DropReason| self.sink_dropped.with_label_values(&[sink, reason.as_str()]).get();
        Dropped { full: count(DropReason::Full), age: count(DropReason::Age) }
    }

    /// All times from receipt to acknowledgement, over all sinks.
    pub fn deliveries(&self) -> Spread {
        let families = self.event_delivery.collect();
        let sinks = families.iter().flat_map(MetricFamily::get_metric).map(|sink| {
            let sink = sink.get_histogram();
            let edges = sink.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
            Spread::cumulative(edges.filter(|(edge, _)| edge.is_finite()), sink.get_sample_count())
        });
        sinks.fold(Spread::default(), |sum, sink| sum.and(&sink))
    }
}

/// The sum over all series, or over those with this label.
fn sum(families: &[MetricFamily], wanted: Option<(&str, &str)>) -> u64 {
    let metrics = families.iter().flat_map(MetricFamily::get_metric);
    let of_it = metrics.filter(|metric| {
        wanted.is_none_or(|(name, value)| {
            metric.get_label().iter().any(|label| label.name() == name && label.value() == value)
        })
    });
    let total: f64 = of_it.map(|metric| metric.get_counter().get_value()).sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters are whole and never negative"
    )]
    let total = total as u64;
    total
}
