//! The sinks on the page.
//!
//! Must not know accounts or subscriptions.

use jiff::Timestamp;

use super::markup::{Cell, Mood, badge, escaped, moment, table as section};
use crate::board::{SinkStatus, View};
use crate::domain::name::SinkName;
use crate::http::worst;

/// All sinks, those that are down first.
pub fn table(view: &View, now: Timestamp) -> String {
    let mut sinks: Vec<(&SinkName, &SinkStatus)> = view.sinks.iter().collect();
    sinks.sort_by_key(|(_, status)| worst::sink(status));
    let columns = ["Sink", "Type", "State", "Queued", "Oldest", "Held calls", "Next try", "Dead", "Newest failure"];
    section("Sinks", &columns, sinks.into_iter().map(|(name, status)| row(name, status, now)))
}

fn state(status: &SinkStatus) -> String {
    match (status.blocking, status.up) {
        (true, _) => badge(Mood::Bad, "full, blocking"),
        (false, true) => badge(Mood::Good, "up"),
        (false, false) if status.configured => badge(Mood::Bad, "down"),
        (false, false) => badge(Mood::Busy, "not configured"),
    }
}

fn row(name: &SinkName, status: &SinkStatus, now: Timestamp) -> Vec<Cell> {
    let dead = if status.dead > 0 { badge(Mood::Bad, &status.dead.to_string()) } else { "0".to_owned() };
    vec![
        Cell::new("Sink", format!("<b>{}</b>", escaped(name.as_str()))),
        Cell::new("Type", escaped(status.kind)),
        Cell::new("State", state(status)),
        Cell::new("Queued", status.queued.to_string()),
        Cell::new("Oldest", moment(status.oldest, now)),
        Cell::new("Held calls", status.held.to_string()),
        Cell::new("Next try", moment(status.retry_at.or(status.held_retry_at), now)),
        Cell::new("Dead", dead),
        Cell::text("Newest failure", status.last_error.as_deref()),
    ]
}
