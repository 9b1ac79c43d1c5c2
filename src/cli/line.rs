//! One event as a line for people.
//!
//! Must not trust what stands in it.

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::table::harmless;

/// `12:00:01  demo-1    rings      +12125550111@carrier → user1`, as far as the event says so; coloured, to be written
/// where colours are taken out again if nobody wants them.
pub(super) fn readable(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let data = &event["data"];
    let (style, verb, rest) = match event["type"].as_str().unwrap_or_default() {
        "com.onsip.call.created" => (AnsiColor::Cyan.on_default(), "calls", parties(data)),
        "com.onsip.call.requested" => (AnsiColor::Yellow.on_default(), "rings", parties(data)),
        "com.onsip.call.confirmed" => (AnsiColor::Green.on_default(), "answered", parties(data)),
        "com.onsip.call.ended" => (Style::new().dimmed(), "ended", format!("{}  {}", parties(data), outcome(data))),
        "com.onsip.gap" => {
            let [from, to] = ["from", "to"].map(|key| clock(data[key].as_str().unwrap_or_default()));
            let rest = format!("{from} to {to}: events may have been missed ({})", text(&data["reason"]));
            (AnsiColor::Red.on_default(), "gap", rest)
        }
        other => (Style::new(), other.trim_start_matches("com.onsip."), text(&data["item_id"])),
    };
    row(event["time"].as_str().unwrap_or_default(), &text(&data["account"]), style, verb, &rest)
}

/// A line about an account.
pub(super) fn row(time: &str, account: &str, style: Style, verb: &str, rest: &str) -> String {
    let (verb, account, rest) = (harmless(verb), harmless(account), harmless(rest));
    format!("{}  {account:<10} {style}{verb:<9}{style:#} {rest}", clock(time))
}

/// The time of day in a time of RFC 3339.
fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or("--:--:--")
}

fn parties(data: &Value) -> String {
    let party = |uri: &Value| uri.as_str().map_or("?", |uri| uri.trim_start_matches("sip:")).to_owned();
    format!("{} → {}", party(&data["from_uri"]), party(&data["to_uri"]))
}

fn outcome(data: &Value) -> String {
    match (data["answered"].as_bool(), data["answered_elsewhere"].as_bool()) {
        (Some(true), _) => format!("(talked {:.1} s)", data["talk_seconds"].as_f64().unwrap_or_default()),
        (_, Some(true)) => "(answered elsewhere)".to_owned(),
        (_, _) => "(not answered)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plain(event: &Value) -> String {
        anstream::adapter::strip_str(&readable(event)).to_string()
    }

    #[test]
    fn a_call_reads_as_a_sentence() {
        let event = json!({
            "type": "com.onsip.call.ended", "time": "2026-01-01T12:00:01.000000Z",
            "data": {"account": "demo-1", "from_uri": "sip:a@x", "to_uri": "sip:b@y", "answered": true, "talk_seconds": 2.5}
        });
        assert_eq!(plain(&event), "12:00:01  demo-1     ended     a@x → b@y  (talked 2.5 s)");
    }

    #[test]
    fn a_gap_says_from_when_to_when_and_why() {
        let event = json!({
            "type": "com.onsip.gap", "time": "2026-01-01T12:00:09.000000Z",
            "data": {"account": "a", "from": "2026-01-01T12:00:01Z", "to": "2026-01-01T12:00:08Z", "reason": "disconnect"}
        });
        assert!(plain(&event).ends_with("gap       12:00:01 to 12:00:08: events may have been missed (disconnect)"));
    }

    #[test]
    fn an_event_that_says_nothing_is_still_a_line() {
        assert!(plain(&json!({"type": "x", "data": {}})).contains('?'));
    }

    #[test]
    fn a_peer_can_neither_break_a_line_nor_steer_the_terminal() {
        let event =
            json!({"type": "com.onsip.call.created", "data": {"account": "a", "from_uri": "sip:\u{1b}[2J\n@x"}});
        let text = readable(&event);
        assert!(text.lines().count() == 1 && !text.contains("\u{1b}[2J"), "{text:?}");
    }
}
