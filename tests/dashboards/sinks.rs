//! The sinks: rate, errors, duration, queue, dead letters.

use super::board::Board;
use super::panel::Panel;

pub fn board() -> Board {
    Board {
        name: "sinks",
        title: "sinks",
        says: "Each sink: deliveries, failures, how long they take, what waits, and what was given up.",
        chosen: Some(("sink", "Sink", true)),
        rows: vec![
            ("Rules", rules()),
            ("Rate, errors, duration", deliveries()),
            ("Queue", queue()),
            ("Given up", given_up()),
            ("Canaries", canaries()),
        ],
    }
}

const UP: &[(&str, &str, &str)] = &[("0", "down", "red"), ("1", "up", "green")];

fn rules() -> Vec<Panel> {
    let panel = |title, says, metric: &str| {
        let query = format!("sum by (sink) (rate({metric}{{$here,sink=~\"$sink\"}}[$rate]))");
        Panel::lines(title, says, "eps", &[(&query, "{{sink}}")])
    };
    vec![
        panel(
            "Let through by the rule",
            "Events per second that a sink is to get. None at all for days: is its `when` what is meant? \
             `onsip-router check --event` says what a rule says of one event.",
            "onsip_router_sink_rule_matched_total",
        ),
        panel(
            "Left out by the rule",
            "Events per second that a sink does not get because its `when` is false for them.",
            "onsip_router_sink_rule_skipped_total",
        ),
        panel(
            "Rule without an answer",
            "Events per second that a sink does not get because its `when` has no answer for them: it orders a null, or asks \
             for a key that events of that type lack. The log says why.",
            "onsip_router_sink_rule_errors_total",
        ),
    ]
}

fn deliveries() -> Vec<Panel> {
    vec![
        Panel::areas(
            "Delivered",
            "Events acknowledged per second, by sink.",
            "eps",
            &[(
                "sum by (sink) (rate(onsip_router_sink_deliveries_total{$here,sink=~\"$sink\",outcome=\"delivered\"}[$rate]))",
                "{{sink}}",
            )],
        ),
        Panel::lines(
            "Share that failed",
            "Deliveries that have to be tried again or are given up, of all. Empty while nothing is tried.",
            "percentunit",
            &[(
                "sum by (sink) (rate(onsip_router_sink_deliveries_total{$here,sink=~\"$sink\",outcome!=\"delivered\"}[$rate])) \
                 / (sum by (sink) (rate(onsip_router_sink_deliveries_total{$here,sink=~\"$sink\"}[$rate])) > 0)",
                "{{sink}}",
            )],
        ),
        Panel::lines(
            "Duration",
            "Receipt to the sink's acknowledgement, waiting included.",
            "s",
            &[
                (
                    "histogram_quantile(0.5, sum by (le, sink) \
                     (rate(onsip_router_event_delivery_seconds_bucket{$here,sink=~\"$sink\"}[$rate])))",
                    "p50 {{sink}}",
                ),
                (
                    "histogram_quantile(0.99, sum by (le, sink) \
                     (rate(onsip_router_event_delivery_seconds_bucket{$here,sink=~\"$sink\"}[$rate])))",
                    "p99 {{sink}}",
                ),
            ],
        ),
        Panel::words(
            "Up",
            "Down from a failed delivery until one succeeds.",
            &[("min by (sink) (onsip_router_sink_up{$here,sink=~\"$sink\"})", "{{sink}}")],
            UP,
        )
        .wide(24),
    ]
}

fn queue() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Oldest event",
            "Age of the oldest event not acknowledged yet; 0 while there is none.",
            "s",
            &[(
                "max by (sink) ((time() - onsip_router_sink_queue_oldest_timestamp_seconds{$here,sink=~\"$sink\"}) \
                 * (onsip_router_sink_queue_oldest_timestamp_seconds{$here,sink=~\"$sink\"} > bool 0))",
                "{{sink}}",
            )],
        )
        .red_from(300.0)
        .runbook("OnsipRouterDeliveryLate"),
        Panel::lines(
            "Events",
            "Events not acknowledged yet.",
            "short",
            &[("sum by (sink) (onsip_router_sink_queue_events{$here,sink=~\"$sink\"})", "{{sink}}")],
        ),
        Panel::lines(
            "Size",
            "Bytes of the events that wait, against the sink's max_queue.",
            "bytes",
            &[("sum by (sink) (onsip_router_sink_queue_bytes{$here,sink=~\"$sink\"})", "{{sink}}")],
        ),
        Panel::lines(
            "Calls held",
            "Calls that failed on their own and wait for a try of their own; all others go on.",
            "short",
            &[("sum by (sink) (onsip_router_sink_held_calls{$here,sink=~\"$sink\"})", "{{sink}}")],
        ),
        Panel::lines(
            "Owed to sinks not configured",
            "Events owed to sinks that are not configured any more: configured again under their names they get them. Beside \
            them their dead letters.",
            "short",
            &[
                ("sum(onsip_router_unconfigured_sink_events{$here})", "events"),
                ("sum(onsip_router_unconfigured_sink_dead_events{$here})", "dead letters"),
            ],
        ),
        Panel::lines(
            "Blocking",
            "1 while a full queue with when_full = \"block\" stops receiving, for all sinks.",
            "short",
            &[("max by (sink) (onsip_router_sink_blocking{$here,sink=~\"$sink\"})", "{{sink}}")],
        )
        .red_from(1.0)
        .runbook("OnsipRouterDeliveryLate"),
    ]
}

fn given_up() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Dead letters",
            "Events given up and kept until an operator retries or purges them.",
            "short",
            &[("sum by (sink) (onsip_router_sink_dead_events{$here,sink=~\"$sink\"})", "{{sink}}")],
        )
        .runbook("OnsipRouterDeadLetters"),
        Panel::lines(
            "New dead letters",
            "Events given up, by sink.",
            "short",
            &[(
                "sum by (sink) (increase(onsip_router_sink_deliveries_total{$here,sink=~\"$sink\",outcome=\"dead\"}[$rate]))",
                "{{sink}}",
            )],
        )
        .runbook("OnsipRouterDeadLetters"),
        Panel::lines(
            "Dropped",
            "Events lost to a sink because its queue was full or they were too old.",
            "short",
            &[(
                "sum by (sink, reason) (increase(onsip_router_sink_dropped_total{$here,sink=~\"$sink\"}[$rate]))",
                "{{sink}} {{reason}}",
            )],
        )
        .runbook("OnsipRouterDeliveryLate"),
        Panel::lines(
            "Changed by operators",
            "Events that `queue retry` made owed again, or `queue purge` removed, beside the running daemon.",
            "short",
            &[(
                "sum by (sink, action) (increase(onsip_router_sink_operator_events_total{$here,sink=~\"$sink\"}[$rate]))",
                "{{sink}} {{action}}",
            )],
        ),
    ]
}

fn canaries() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Newest canary",
            "Time since the newest canary the sink has acknowledged, of sinks that get canaries.",
            "s",
            &[(
                "max by (sink) (time() - (onsip_router_sink_canary_last_success_timestamp_seconds{$here,sink=~\"$sink\"} > 0))",
                "{{sink}}",
            )],
        )
        .runbook("OnsipRouterCanaryMissing"),
        Panel::lines(
            "Interval",
            "How often a sink gets a canary; sinks without are left out.",
            "s",
            &[("max by (sink) (onsip_router_sink_canary_interval_seconds{$here,sink=~\"$sink\"} > 0)", "{{sink}}")],
        ),
        Panel::lines(
            "Duration of canaries",
            "From the making of a canary to the sink's acknowledgement, waiting included.",
            "s",
            &[
                (
                    "histogram_quantile(0.5, sum by (le, sink) \
                     (rate(onsip_router_sink_canary_seconds_bucket{$here,sink=~\"$sink\"}[$rate])))",
                    "p50 {{sink}}",
                ),
                (
                    "histogram_quantile(0.99, sum by (le, sink) \
                     (rate(onsip_router_sink_canary_seconds_bucket{$here,sink=~\"$sink\"}[$rate])))",
                    "p99 {{sink}}",
                ),
            ],
        ),
    ]
}
