//! From the receipt of a stanza to the acknowledgement of the file sink, at a steady rate, in the built daemon.

use std::time::Duration;

use onsip_router::domain::moment::Moment;

use super::Traffic;
use super::stage::Stage;
use super::support::metrics::Metrics;

/// A call is this many events on average: it rings, most are answered, it ends, and often on both sides.
const CALLS_PER_MINUTE: f64 = 2_000.0 * 60.0 / 4.5;
const TIME: Duration = Duration::from_secs(20);
const HISTOGRAM: &str = "event_delivery_seconds_bucket";

/// Prints the rate there was, median and 99th percentile.
pub async fn print() {
    let stage = Stage::set(100, None).await;
    stage.until_live().await;
    let addresses = stage.accounts.iter().map(|account| account.jid.to_string()).collect();
    let mut traffic = Traffic::new(addresses, CALLS_PER_MINUTE);
    traffic.ring = (Duration::from_millis(500), Duration::from_millis(1500));
    traffic.talk = traffic.ring;
    stage.onsip.run_traffic(traffic);
    tokio::time::sleep(Duration::from_secs(5)).await; // until as many calls end as begin
    let (before, start) = (stage.daemon.metrics().await, Moment::now());
    tokio::time::sleep(TIME).await;
    let (after, time) = (stage.daemon.metrics().await, Moment::now().since(start));
    let buckets = between(&before, &after);
    let count = buckets.last().map_or(0.0, |(_, count)| *count);
    println!(
        "receipt to the file's acknowledgement at {:.0} events/s: median {:.1} ms (goal: 5), p99 {:.1} ms (goal: 25)",
        count / time.as_secs_f64(),
        quantile(&buckets, 0.5) * 1e3,
        quantile(&buckets, 0.99) * 1e3,
    );
    stage.end().await;
}

/// What each bucket got meanwhile, cumulative, with its upper edge.
fn between(before: &Metrics, after: &Metrics) -> Vec<(f64, f64)> {
    let edges = after.named(HISTOGRAM).map(|sample| sample.labels["le"].clone());
    let mut buckets: Vec<_> = edges
        .map(|edge| {
            let count = |metrics: &Metrics| metrics.value(HISTOGRAM, &[("le", &edge)]).unwrap_or_default();
            (edge.parse().unwrap_or(f64::INFINITY), count(after) - count(before))
        })
        .collect();
    buckets.sort_by(|a: &(f64, f64), b| a.0.total_cmp(&b.0));
    buckets
}

/// As Prometheus does it: evenly spread within a bucket.
fn quantile(buckets: &[(f64, f64)], share: f64) -> f64 {
    let wanted = buckets.last().map_or(0.0, |(_, count)| *count) * share;
    let (mut edge, mut below) = (0.0, 0.0);
    for (upper, count) in buckets {
        if *count >= wanted && count > &below {
            return if upper.is_finite() { edge + (upper - edge) * (wanted - below) / (count - below) } else { edge };
        }
        (edge, below) = (*upper, *count);
    }
    edge
}
