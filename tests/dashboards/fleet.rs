//! The first board anybody opens: is all well, and where is it not?

use super::board::Board;
use super::panel::Panel;

pub fn board() -> Board {
    Board {
        name: "fleet",
        title: "fleet",
        says: "All accounts and sinks at a glance: traffic, latency, errors, saturation, and who is blind.",
        chosen: None,
        rows: vec![
            ("Now", now()),
            ("Blind accounts", blind()),
            ("Events", events()),
            ("Latency", latency()),
            ("Errors", errors()),
            ("Saturation", saturation()),
            ("Accounts and leases", accounts()),
        ],
    }
}

fn now() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Blind accounts",
            "Enabled accounts whose events cannot arrive now, for whatever reason.",
            "short",
            "sum(onsip_router_accounts_blind{$here})",
        )
        .red_from(1.0)
        .runbook("OnsipRouterAccountBlind"),
        Panel::stat(
            "Blind for",
            "How long the account that is blind for longest has been so; 0 while none is.",
            "s",
            "max((time() - onsip_router_accounts_blind_oldest_timestamp_seconds{$here}) \
             * (onsip_router_accounts_blind_oldest_timestamp_seconds{$here} > bool 0))",
        )
        .red_from(300.0)
        .runbook("OnsipRouterAccountBlind"),
        Panel::stat(
            "Events",
            "Events read from notifications per second, duplicates included.",
            "eps",
            "sum(rate(onsip_router_events_received_total{$here}[$rate]))",
        ),
        Panel::stat(
            "Delivery, p99",
            "Receipt to acknowledgement over all sinks, 99th percentile. Empty while nothing is delivered.",
            "s",
            "histogram_quantile(0.99, sum by (le) (rate(onsip_router_event_delivery_seconds_bucket{$here}[$rate]))) >= 0",
        )
        .red_from(60.0),
        Panel::stat(
            "Oldest undelivered",
            "Age of the oldest event that a sink has not acknowledged, over all sinks; 0 while there is none.",
            "s",
            "max((time() - onsip_router_sink_queue_oldest_timestamp_seconds{$here}) \
             * (onsip_router_sink_queue_oldest_timestamp_seconds{$here} > bool 0))",
        )
        .red_from(300.0)
        .runbook("OnsipRouterDeliveryLate"),
        Panel::stat(
            "Dead letters",
            "Events given up and kept; onsip-router queue list shows them with the reasons.",
            "short",
            "sum(onsip_router_sink_dead_events{$here})",
        )
        .red_from(1.0)
        .runbook("OnsipRouterDeadLetters"),
        Panel::stat(
            "Routers",
            "Instances that are scraped and answer with their metrics.",
            "short",
            "count(onsip_router_build_info{$here})",
        )
        .red_below(1.0)
        .runbook("OnsipRouterAbsent"),
        Panel::stat(
            "Accounts online",
            "Connected and authorized, of those that are enabled.",
            "percentunit",
            "sum(onsip_router_accounts{$here,state=\"online\"}) / (sum(onsip_router_accounts{$here,state!=\"disabled\"}) > 0)",
        )
        .red_below(0.8)
        .runbook("OnsipRouterManyAccountsBlind"),
        Panel::stat(
            "Renewal due in",
            "Time until three quarters of the first lease of an active subscription have passed; it is renewed before that.",
            "s",
            "min((onsip_router_subscription_renewal_due_timestamp_seconds{$here} > 0) - time())",
        )
        .red_below(0.0)
        .runbook("OnsipRouterLeaseNotRenewed"),
        Panel::stat(
            "Sinks down",
            "Sinks whose last delivery failed.",
            "short",
            "count(onsip_router_sink_up{$here}) - sum(onsip_router_sink_up{$here})",
        )
        .red_from(1.0),
        Panel::stat(
            "Store writable",
            "1 while every router can commit events; while one cannot, it receives nothing.",
            "short",
            "min(onsip_router_store_writable{$here})",
        )
        .red_below(1.0)
        .runbook("OnsipRouterStoreNotWritable"),
        Panel::stat(
            "Disk free",
            "Share of the disk that is free, where it is least.",
            "percentunit",
            "min(onsip_router_store_disk_free_bytes{$here} / onsip_router_store_disk_size_bytes{$here})",
        )
        .red_below(0.1)
        .runbook("OnsipRouterDiskNearFull"),
    ]
}

fn blind() -> Vec<Panel> {
    vec![
        Panel::table(
            "Blind now",
            "Accounts whose events cannot arrive, and for how long. Empty while all see. Why, stands on the status page.",
            "s",
            "topk(100, time() - (onsip_router_account_blind_since_timestamp_seconds{$here} > 0))",
            &[("account", "Account"), ("instance", "Instance"), ("Value", "Blind for")],
        )
        .runbook("OnsipRouterAccountBlind"),
        Panel::lines(
            "Blind accounts over time",
            "Accounts whose events cannot arrive. Short peaks are reconnects.",
            "short",
            &[("sum by (instance) (onsip_router_accounts_blind{$here})", "{{instance}}")],
        ),
        Panel::table(
            "Alerts",
            "What the rules of this folder say now, firing or about to. Empty while all is well, or without those rules.",
            "none",
            "ALERTS{alertname=~\"OnsipRouter.+\"}",
            &[("alertname", "Alert"), ("alertstate", "State"), ("severity", "Severity"), ("instance", "Instance"),
              ("account", "Account"), ("sink", "Sink")],
        ),
    ]
}

fn events() -> Vec<Panel> {
    vec![
        Panel::areas(
            "Events by type",
            "Events read per second, by type, duplicates included.",
            "eps",
            &[("sum by (type) (rate(onsip_router_events_received_total{$here}[$rate]))", "{{type}}")],
        ),
        Panel::areas(
            "Events by service",
            "Events read per second, by service, duplicates included.",
            "eps",
            &[("sum by (service) (rate(onsip_router_events_received_total{$here}[$rate]))", "{{service}}")],
        ),
        Panel::areas(
            "Duplicates",
            "Events per second that had been seen before and are not delivered again. Many accounts on one call make many.",
            "eps",
            &[("sum by (service) (rate(onsip_router_events_duplicate_total{$here}[$rate]))", "{{service}}")],
        ),
    ]
}

fn latency() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Publish delay",
            "Publish-time to receipt, by service. High after a reconnect is a replay; high all the time is the service or a \
             clock.",
            "s",
            &[
                (
                    "histogram_quantile(0.5, sum by (le, service) \
                     (rate(onsip_router_event_publish_delay_seconds_bucket{$here}[$rate])))",
                    "p50 {{service}}",
                ),
                (
                    "histogram_quantile(0.99, sum by (le, service) \
                     (rate(onsip_router_event_publish_delay_seconds_bucket{$here}[$rate])))",
                    "p99 {{service}}",
                ),
            ],
        ),
        Panel::lines(
            "Delivery",
            "Receipt to acknowledgement, by sink.",
            "s",
            &[
                (
                    "histogram_quantile(0.5, sum by (le, sink) (rate(onsip_router_event_delivery_seconds_bucket{$here}[$rate])))",
                    "p50 {{sink}}",
                ),
                (
                    "histogram_quantile(0.99, sum by (le, sink) (rate(onsip_router_event_delivery_seconds_bucket{$here}[$rate])))",
                    "p99 {{sink}}",
                ),
            ],
        ),
        Panel::lines(
            "Clock of the service",
            "Largest difference between the service's clock and ours. It is corrected for, yet somebody should set a clock.",
            "s",
            &[("max by (instance) (onsip_router_clock_offset_seconds{$here})", "{{instance}}")],
        ),
    ]
}

fn errors() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Gaps",
            "Windows in which events may have been missed, by reason. Each is told to the sinks as com.onsip.gap.",
            "short",
            &[("sum by (reason) (increase(onsip_router_gaps_total{$here}[$rate]))", "{{reason}}")],
        ),
        Panel::lines(
            "Rejected",
            "Messages and items per second that were not accepted as events, by reason. Another client of the same account \
             makes foreign_resource.",
            "eps",
            &[("sum by (reason) (rate(onsip_router_events_rejected_total{$here}[$rate]))", "{{reason}}")],
        ),
        Panel::lines(
            "Deliveries that failed",
            "Per second, by sink and what follows: another try, or a dead letter.",
            "eps",
            &[(
                "sum by (sink, outcome) (rate(onsip_router_sink_deliveries_total{$here,outcome!=\"delivered\"}[$rate]))",
                "{{sink}} {{outcome}}",
            )],
        ),
        Panel::lines(
            "Connects",
            "Attempts to connect and log in, by how they ended.",
            "short",
            &[("sum by (outcome) (increase(onsip_router_connects_total{$here}[$rate]))", "{{outcome}}")],
        ),
        Panel::lines(
            "Disconnects",
            "Connections that ended, by reason.",
            "short",
            &[("sum by (reason) (increase(onsip_router_disconnects_total{$here}[$rate]))", "{{reason}}")],
        ),
        Panel::lines(
            "Lost sessions resumed",
            "Sessions that were lost and could be resumed, by whether they were. What is resumed missed nothing.",
            "short",
            &[("sum by (outcome) (increase(onsip_router_resumptions_total{$here}[$rate]))", "{{outcome}}")],
        ),
    ]
}

fn saturation() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Waiting inside",
            "Bounded queues between the parts of the router. Growing means that the disk is slower than the calls.",
            "short",
            &[
                ("sum by (instance) (onsip_router_router_batches_waiting{$here})", "batches {{instance}}"),
                ("sum by (instance) (onsip_router_store_operations_waiting{$here})", "store {{instance}}"),
                ("sum by (instance) (onsip_router_messages_in_hand{$here})", "messages {{instance}}"),
            ],
        ),
        Panel::lines(
            "Log-ins",
            "Log-ins that have begun, and log-ins that wait for their turn. Many under way for long: a server is silent.",
            "short",
            &[
                ("sum by (instance) (onsip_router_logins_under_way{$here})", "under way {{instance}}"),
                ("sum by (instance) (onsip_router_logins_waiting{$here})", "waiting {{instance}}"),
            ],
        ),
        Panel::areas(
            "Waiting for sinks",
            "Events not acknowledged yet, by sink.",
            "short",
            &[("sum by (sink) (onsip_router_sink_queue_events{$here})", "{{sink}}")],
        ),
        Panel::lines(
            "Processor",
            "Cores in use.",
            "short",
            &[(
                "rate(process_cpu_seconds_total{$here}[$rate]) and on (job, instance) onsip_router_build_info",
                "{{instance}}",
            )],
        ),
    ]
}

fn accounts() -> Vec<Panel> {
    vec![
        Panel::areas(
            "Accounts by state",
            "Every configured account is in one of these states.",
            "short",
            &[("sum by (state) (onsip_router_accounts{$here})", "{{state}}")],
        ),
        Panel::lines(
            "Age of the oldest renewal",
            "Time since the renewal longest ago among the active subscriptions, by service. It must stay below 75 % of the \
             lease.",
            "s",
            &[(
                "max by (service) ((time() - onsip_router_subscription_oldest_renewal_timestamp_seconds{$here}) \
                 * (onsip_router_subscription_oldest_renewal_timestamp_seconds{$here} > bool 0))",
                "{{service}}",
            )],
        )
        .runbook("OnsipRouterLeaseNotRenewed"),
        Panel::lines(
            "Least authorization left",
            "Time until the first authorization of an account ends; it is renewed at 75 % of its time at the latest.",
            "s",
            &[("min((onsip_router_account_authorized_until_timestamp_seconds{$here} > 0) - time())", "least")],
        ),
        Panel::table(
            "Longest without an event",
            "Online accounts whose newest event is longest ago. Compare with how busy each should be.",
            "s",
            "topk(20, time() - (onsip_router_account_last_event_timestamp_seconds{$here} > 0) \
             and on (job, instance, account) onsip_router_account_online == 1)",
            &[("account", "Account"), ("instance", "Instance"), ("Value", "Newest event")],
        )
        .runbook("OnsipRouterEventsSilent"),
        Panel::table(
            "Busiest accounts",
            "Events per second, duplicates included.",
            "eps",
            "topk(20, sum by (instance, account) (rate(onsip_router_account_events_total{$here}[$rate])))",
            &[("account", "Account"), ("instance", "Instance"), ("Value", "Events")],
        ),
        Panel::stat(
            "Accounts without series",
            "Accounts that are missing in tables by account: [metrics] per_account or max_accounts leaves them out.",
            "short",
            "sum(onsip_router_accounts_without_series{$here})",
        )
        .wide(8),
    ]
}
