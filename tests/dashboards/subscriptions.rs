//! Subscriptions and what becomes of them at the service.

use super::board::Board;
use super::panel::Panel;

pub fn board() -> Board {
    Board {
        name: "subscriptions",
        title: "subscriptions",
        says: "Subscriptions by state, their leases and renewals, what the service says of them, and the legs of calls.",
        chosen: None,
        rows: vec![("States and leases", leases()), ("At the service", service()), ("Gaps and legs of calls", legs())],
    }
}

fn leases() -> Vec<Panel> {
    vec![
        Panel::areas(
            "By state",
            "Every node of every account has one subscription in one of these states. Only active and renewing ones deliver.",
            "short",
            &[("sum by (state) (onsip_router_subscriptions{$here})", "{{state}}")],
        ),
        Panel::lines(
            "Not delivering",
            "Subscriptions that are neither active nor renewing, by service and state.",
            "short",
            &[(
                "sum by (service, state) (onsip_router_subscriptions{$here,state!~\"active|renewing\"})",
                "{{service}} {{state}}",
            )],
        )
        .runbook("OnsipRouterAccountBlind"),
        Panel::lines(
            "Renewal due in",
            "Time until three quarters of the first lease of an active subscription have passed, by service. It is renewed \
             before that.",
            "s",
            &[(
                "min by (service) ((onsip_router_subscription_renewal_due_timestamp_seconds{$here} > 0) - time())",
                "{{service}}",
            )],
        )
        .red_below(0.0)
        .runbook("OnsipRouterLeaseNotRenewed"),
        Panel::lines(
            "Age of the oldest renewal",
            "Time since the renewal longest ago among the active subscriptions, by service.",
            "s",
            &[(
                "max by (service) ((time() - onsip_router_subscription_oldest_renewal_timestamp_seconds{$here}) \
                 * (onsip_router_subscription_oldest_renewal_timestamp_seconds{$here} > bool 0))",
                "{{service}}",
            )],
        ),
        Panel::lines(
            "Renewals",
            "Per second, by how they ended. Unsupported: the service has no leases; the subscription stays active.",
            "ops",
            &[("sum by (outcome) (rate(onsip_router_subscription_renewals_total{$here}[$rate]))", "{{outcome}}")],
        )
        .runbook("OnsipRouterLeaseNotRenewed"),
        Panel::lines(
            "Made, reused and removed",
            "A restart should reuse, not make.",
            "short",
            &[
                ("sum(increase(onsip_router_subscriptions_created_total{$here}[$rate]))", "made"),
                ("sum(increase(onsip_router_subscriptions_reused_total{$here}[$rate]))", "reused"),
                ("sum(increase(onsip_router_subscriptions_removed_total{$here}[$rate]))", "removed"),
            ],
        ),
    ]
}

fn service() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Looks at the service",
            "Listings per second of subscriptions that deliver, by what was seen. Missing: it ended without a word. \
             Unanswered: the link was replaced.",
            "ops",
            &[("sum by (outcome) (rate(onsip_router_subscription_probes_total{$here}[$rate]))", "{{outcome}}")],
        ),
        Panel::lines(
            "Requests without an answer",
            "Requests the server did not answer in time, and stanzas not sent because the queue for sending was full.",
            "short",
            &[
                ("sum(increase(onsip_router_requests_timed_out_total{$here}[$rate]))", "not answered"),
                ("sum(increase(onsip_router_outbound_stanzas_dropped_total{$here}[$rate]))", "not sent"),
            ],
        ),
        Panel::lines(
            "Resyncs",
            "What came of asking for the live calls and registrations after a gap. Refused: missed ends show only by age.",
            "short",
            &[("sum by (outcome) (increase(onsip_router_subscription_resyncs_total{$here}[$rate]))", "{{outcome}}")],
        ),
    ]
}

fn legs() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Gaps by service",
            "Windows in which events may have been missed, by service and reason.",
            "short",
            &[("sum by (service, reason) (increase(onsip_router_gaps_total{$here}[$rate]))", "{{service}} {{reason}}")],
        ),
        Panel::lines(
            "Live legs",
            "Legs of calls whose end was not seen yet. One that only grows means that ends do not arrive.",
            "short",
            &[("sum by (instance) (onsip_router_legs_live{$here})", "{{instance}}")],
        ),
        Panel::lines(
            "Legs ended",
            "How the ends of legs became known: told by the service, or found missing after a gap, or too old.",
            "short",
            &[("sum by (reason) (increase(onsip_router_legs_ended_total{$here}[$rate]))", "{{reason}}")],
        ),
    ]
}
