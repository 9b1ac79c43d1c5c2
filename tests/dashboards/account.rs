//! One account: does it see, what does it get, and how long may it go on?

use super::board::Board;
use super::panel::Panel;

pub fn board() -> Board {
    Board {
        name: "account",
        title: "account",
        says: "One account: whether its events can arrive, how many do, and how long authorization and leases last.",
        chosen: Some(("account", "Account", false)),
        rows: vec![("Now", now()), ("Over time", over_time())],
    }
}

const SEES: &[(&str, &str, &str)] = &[("0", "blind", "red"), ("1", "sees", "green")];
const ONLINE: &[(&str, &str, &str)] = &[("0", "offline", "red"), ("1", "online", "green")];

fn now() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Blind for",
            "How long its events have not been able to arrive; 0 while they can, and where it is disabled.",
            "s",
            "max((time() - onsip_router_account_blind_since_timestamp_seconds{$here,account=\"$account\"}) \
             * (onsip_router_account_blind_since_timestamp_seconds{$here,account=\"$account\"} > bool 0))",
        )
        .red_from(1.0)
        .runbook("OnsipRouterAccountBlind"),
        Panel::stat(
            "Newest event",
            "How long ago it was received. Empty before the first.",
            "s",
            "min(time() - (onsip_router_account_last_event_timestamp_seconds{$here,account=\"$account\"} > 0))",
        )
        .runbook("OnsipRouterEventsSilent"),
        Panel::stat(
            "Events in a day",
            "Events received in the last 24 hours, duplicates included.",
            "short",
            "sum(increase(onsip_router_account_events_total{$here,account=\"$account\"}[1d]))",
        ),
        Panel::stat(
            "Authorized for",
            "Time until its authorization ends; it is renewed long before. Empty while it is not authorized.",
            "s",
            "min((onsip_router_account_authorized_until_timestamp_seconds{$here,account=\"$account\"} > 0) - time())",
        )
        .red_below(60.0),
        Panel::stat(
            "Lease left",
            "Time until the first lease of its active subscriptions ends; it is renewed long before. Empty where none has one.",
            "s",
            "min((onsip_router_account_lease_until_timestamp_seconds{$here,account=\"$account\"} > 0) - time())",
        )
        .red_below(60.0)
        .runbook("OnsipRouterLeaseNotRenewed"),
        Panel::stat(
            "Online",
            "1 while it is connected and authorized.",
            "short",
            "max(onsip_router_account_online{$here,account=\"$account\"})",
        )
        .red_below(1.0),
    ]
}

fn over_time() -> Vec<Panel> {
    vec![
        Panel::words(
            "Sees",
            "Whether its events can arrive: authorized, and every subscription that is not denied delivers.",
            &[("max(onsip_router_account_covered{$here,account=\"$account\"})", "events")],
            SEES,
        )
        .wide(12),
        Panel::words(
            "Connection",
            "Whether it is connected and authorized.",
            &[("max(onsip_router_account_online{$here,account=\"$account\"})", "connection")],
            ONLINE,
        )
        .wide(12),
        Panel::lines(
            "Events in an hour, now and a week ago",
            "The account's own usual traffic. An hour without any where there were 20 a week ago raises an alert.",
            "short",
            &[
                ("sum(increase(onsip_router_account_events_total{$here,account=\"$account\"}[1h]))", "now"),
                ("sum(increase(onsip_router_account_events_total{$here,account=\"$account\"}[1h] offset 1w))", "a week ago"),
            ],
        )
        .wide(12)
        .runbook("OnsipRouterEventsSilent"),
        Panel::lines(
            "Time left",
            "Until the authorization and the first lease end. Both are renewed long before 0.",
            "s",
            &[
                (
                    "min((onsip_router_account_authorized_until_timestamp_seconds{$here,account=\"$account\"} > 0) - time())",
                    "authorization",
                ),
                ("min((onsip_router_account_lease_until_timestamp_seconds{$here,account=\"$account\"} > 0) - time())", "lease"),
            ],
        )
        .wide(12)
        .runbook("OnsipRouterLeaseNotRenewed"),
    ]
}
