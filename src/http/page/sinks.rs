//! The sinks on the page.
//!
//! Must not know accounts or subscriptions, nor decide how a sink is.

use jiff::Timestamp;

use super::markup::{Cell, Mood, badge, escaped, moment, table as section};
use crate::domain::status::SinkState;
use crate::http::api::Sink;
use crate::http::worst;

/// How a state is to be taken.
fn mood(state: SinkState) -> Mood {
    match state {
        SinkState::Up => Mood::Good,
        SinkState::Down | SinkState::Resting => Mood::Bad,
        SinkState::NotConfigured => Mood::Busy,
    }
}

/// All sinks, those that are down first.
pub fn table(sinks: &[Sink], now: Timestamp) -> String {
    let mut sinks: Vec<&Sink> = sinks.iter().collect();
    sinks.sort_by_key(|sink| worst::sink(&sink.status));
    let columns = [
        "Sink",
        "Type",
        "State",
        "Queued",
        "Bytes",
        "Oldest",
        "Held calls",
        "Next try",
        "Dead",
        "Dropped",
        "Newest failure",
    ];
    section("Sinks", &columns, sinks.into_iter().map(|sink| row(sink, now)))
}

fn state(sink: &Sink) -> String {
    let state = badge(mood(sink.status.state), sink.status.state.as_str());
    if sink.status.blocking { state + &badge(Mood::Bad, "full, blocking") } else { state }
}

fn row(sink: &Sink, now: Timestamp) -> Vec<Cell> {
    let status = &sink.status;
    let dead = if status.dead > 0 { badge(Mood::Bad, &status.dead.to_string()) } else { "0".to_owned() };
    vec![
        Cell::new("Sink", format!("<b>{}</b>", escaped(sink.name.as_str()))),
        Cell::new("Type", escaped(sink.r#type)),
        Cell::new("State", state(sink)),
        Cell::new("Queued", status.queued.to_string()),
        Cell::new("Bytes", status.bytes.to_string()),
        Cell::new("Oldest", moment(status.oldest, now)),
        Cell::new("Held calls", status.held.to_string()),
        Cell::new("Next try", moment(sink.next_try, now)),
        Cell::new("Dead", dead),
        Cell::new("Dropped", sink.dropped.to_string()),
        Cell::text("Newest failure", status.last_error.as_deref()),
    ]
}
