//! What was counted since the start, over all services, types and sinks.
//!
//! Must not know what is done with it.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use schemars::JsonSchema;
use serde::Serialize;

use super::Metrics;
use super::spread::Spread;
use crate::domain::status::{DeliveryOutcome, QueueAction};

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
    /// Events dropped for a sink that was away for too long.
    pub dropped: u64,
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
        let done = |action: QueueAction| sum(&self.sink_operator_events.collect(), Some(("action", action.as_str())));
        Totals {
            received: sum(&self.events_received.collect(), None),
            duplicate: sum(&self.events_duplicate.collect(), None),
            rejected: sum(&self.events_rejected.collect(), None),
            gaps: sum(&self.gaps.collect(), None),
            delivered: ended(DeliveryOutcome::Delivered),
            retried: ended(DeliveryOutcome::Retried),
            dead: ended(DeliveryOutcome::Dead),
            revived: done(QueueAction::Retried),
            dropped: sum(&self.sink_dropped.collect(), None),
        }
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
