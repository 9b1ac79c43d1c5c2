//! A histogram of the router's, as far as its own figures of latency need it.

use super::support::metrics::Metrics;

/// Cumulative counts by upper edge in milliseconds.
pub struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// The time from receipt to the sink's acknowledgement.
    pub fn of_delivery(metrics: &Metrics) -> Self {
        let edges = metrics
            .named("event_delivery_seconds_bucket")
            .filter_map(|sample| Some((sample.labels.get("le")?.parse::<f64>().ok()? * 1e3, sample.value)));
        let mut edges: Vec<_> = edges.collect();
        edges.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self(edges)
    }

    /// The latency that this share of what came since `earlier` stayed below, by a straight line within its bucket.
    pub fn quantile(&self, earlier: &Self, share: f64) -> Option<f64> {
        let counts = self.0.iter().zip(&earlier.0).map(|((edge, now), (_, before))| (*edge, now - before));
        let counts: Vec<_> = counts.collect();
        let wanted = counts.last().filter(|(_, all)| *all > 0.0)?.1 * share;
        let at = counts.iter().position(|(_, count)| *count >= wanted)?;
        let (lower, before) = at.checked_sub(1).map_or((0.0, 0.0), |below| counts[below]);
        let (edge, count) = counts[at];
        Some(lower + (edge - lower) * (wanted - before) / (count - before))
    }
}
