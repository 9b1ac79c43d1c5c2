//! The head of the page: whether all is well, and how many of what.
//!
//! Must not know single accounts or sinks.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::accounts::mood as of_account;
use super::markup::{Mood, badge, escaped};
use super::subscriptions::mood as of_subscription;
use crate::board::View;
use crate::domain::status::{AccountState, SubscriptionState};
use crate::http::health;

/// Name, readiness, and one tile each for accounts, subscriptions, sinks and the queue.
pub fn summary(view: &View, now: Timestamp) -> String {
    let accounts = counts(view.accounts.values().map(|status| status.state));
    let accounts = AccountState::ALL.iter().map(|s| (of_account(*s), s.as_str(), *accounts.get(s).unwrap_or(&0)));
    let subscriptions = counts(view.subscriptions.values().map(|status| status.state));
    let subscriptions =
        SubscriptionState::ALL.iter().map(|s| (of_subscription(*s), s.as_str(), *subscriptions.get(s).unwrap_or(&0)));
    let configured = view.sinks.values().filter(|status| status.configured).count();
    let up = view.sinks.values().filter(|status| status.up).count();
    let (down, unconfigured) = (configured - up, view.sinks.len() - configured);
    let sinks = [
        (Mood::Good, "up", up as u64),
        (Mood::Bad, "down", down as u64),
        (Mood::Busy, "not configured", unconfigured as u64),
    ];
    let queued: u64 = view.sinks.values().map(|status| status.queued).sum();
    let dead: u64 = view.sinks.values().map(|status| status.dead).sum();
    let alarm = |n: u64| if n > 0 { Mood::Bad } else { Mood::Off };
    [
        format!("<header>\n<h1>onsip-router</h1>\n<p>{}</p>\n", readiness(view)),
        format!("<p class=\"soft\">as of {}, again every 5 s</p>\n</header>\n", now.strftime("%Y-%m-%d %H:%M:%S UTC")),
        hindrance(view),
        "<div class=\"figures\">\n".to_owned(),
        tile("Accounts", view.accounts.len() as u64, accounts),
        tile("Subscriptions", view.subscriptions.len() as u64, subscriptions),
        tile("Sinks", configured as u64, sinks),
        tile("Events queued", queued, [(alarm(dead), "dead", dead)]),
        "</div>\n".to_owned(),
    ]
    .concat()
}

fn readiness(view: &View) -> String {
    if view.draining {
        badge(Mood::Busy, "stopping")
    } else if health::reasons(view).is_empty() {
        badge(Mood::Good, "ready")
    } else {
        badge(Mood::Bad, "not ready")
    }
}

/// The first thing that keeps the daemon from being ready; the tables tell the others.
fn hindrance(view: &View) -> String {
    let reasons = health::reasons(view);
    reasons.first().map(|reason| format!("<p class=\"reason\">{}</p>\n", escaped(reason))).unwrap_or_default()
}

fn counts<S: Ord>(states: impl Iterator<Item = S>) -> BTreeMap<S, u64> {
    let mut counts = BTreeMap::new();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    counts
}

/// Leaves out what there is none of.
fn tile(title: &str, total: u64, parts: impl IntoIterator<Item = (Mood, &'static str, u64)>) -> String {
    let part =
        |(mood, name, n): (Mood, &str, u64)| format!("<li class=\"tag {}\">{n} {}</li>", mood.class(), escaped(name));
    let parts: String = parts.into_iter().filter(|(_, _, n)| *n > 0).map(part).collect();
    format!("<div><h2>{title}</h2><p>{total}</p><ul>{parts}</ul></div>\n")
}
