//! The head of the page: whether all is well, and how many of what.
//!
//! Must not know single accounts or sinks, nor count anything.

use super::accounts::mood as of_account;
use super::markup::{Mood, badge, escaped};
use super::subscriptions::mood as of_subscription;
use crate::http::api::summary::Summary;

/// Reasons that are shown; `/readyz` has them all.
const REASONS: usize = 4;

/// Name, readiness, and tiles of accounts, subscriptions, sinks, the queue and what was counted since the start.
pub fn summary(summary: &Summary) -> String {
    let Summary { accounts, subscriptions, sinks, totals, .. } = summary;
    let alarm = |n: u64| if n > 0 { Mood::Bad } else { Mood::Off };
    let blind = [(Mood::Bad, "blind", accounts.blind as u64)];
    let states = accounts.states.iter().map(|(state, n)| (of_account(*state), state.as_str(), *n as u64));
    let subscribed = subscriptions.states.iter().map(|(state, n)| (of_subscription(*state), state.as_str(), *n as u64));
    let of_sinks = [
        (Mood::Good, "up", sinks.up as u64),
        (Mood::Bad, "down", (sinks.total - sinks.up) as u64),
        (Mood::Bad, "blocking", sinks.blocking as u64),
        (Mood::Busy, "not configured", sinks.unconfigured as u64),
    ];
    let received = [
        (Mood::Off, "received twice", totals.duplicate),
        (Mood::Off, "rejected", totals.rejected),
        (Mood::Off, if totals.gaps == 1 { "gap" } else { "gaps" }, totals.gaps),
    ];
    let delivered = [
        (Mood::Off, "failed and tried again", totals.retried),
        (Mood::Off, "given up", totals.dead),
        (Mood::Off, "owed again by an operator", totals.revived),
        (Mood::Off, "purged by an operator", totals.purged),
        (Mood::Off, "dead purged by an operator", totals.purged_dead),
        (alarm(totals.dropped), "dropped", totals.dropped),
    ];
    let now = summary.now.strftime("%Y-%m-%d %H:%M:%S UTC");
    [
        format!("<header>\n<h1>onsip-router</h1>\n<p>{}</p>\n", readiness(summary)),
        format!("<p class=\"soft\">as of {now}, again every 5 s</p>\n</header>\n"),
        hindrances(summary),
        "<div class=\"figures\">\n".to_owned(),
        tile("Accounts", accounts.total as u64, blind.into_iter().chain(states)),
        tile("Subscriptions", subscriptions.total as u64, subscribed),
        tile("Sinks", sinks.total as u64, of_sinks),
        tile("Events queued", sinks.queued, [(alarm(sinks.dead), "dead", sinks.dead)]),
        tile("Events received", totals.received, received),
        tile("Deliveries", totals.delivered, delivered),
        "</div>\n".to_owned(),
    ]
    .concat()
}

fn readiness(summary: &Summary) -> String {
    if summary.draining {
        badge(Mood::Busy, "stopping")
    } else if summary.ready {
        badge(Mood::Good, "ready")
    } else {
        badge(Mood::Bad, "not ready")
    }
}

/// Shows the reasons for which the daemon is not ready, as far as there is room for them.
fn hindrances(summary: &Summary) -> String {
    let told = summary.reasons.iter().take(REASONS).map(|reason| escaped(reason));
    let more = summary.reasons.len().saturating_sub(REASONS);
    let more = (more > 0).then(|| format!("and {more} more reasons"));
    told.chain(more).map(|reason| format!("<p class=\"reason\">{reason}</p>\n")).collect::<Vec<_>>().concat()
}

/// Leaves out what there is none of.
fn tile(title: &str, total: u64, parts: impl IntoIterator<Item = (Mood, &'static str, u64)>) -> String {
    let part =
        |(mood, name, n): (Mood, &str, u64)| format!("<li class=\"tag {}\">{n} {}</li>", mood.class(), escaped(name));
    let parts: String = parts.into_iter().filter(|(_, _, n)| *n > 0).map(part).collect();
    format!("<div><h2>{title}</h2><p>{total}</p><ul>{parts}</ul></div>\n")
}
