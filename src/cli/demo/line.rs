//! One event as a line for people.

use serde_json::Value;

/// `12:00:01  demo-1    rings      sip:+12125550111@carrier → user1`, as far as the event says so.
pub(super) fn readable(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let data = &event["data"];
    let clock = event["time"].as_str().and_then(|time| time.get(11..19)).unwrap_or("--:--:--");
    let (verb, rest) = match event["type"].as_str().unwrap_or_default() {
        "com.onsip.call.created" => ("calls", parties(data)),
        "com.onsip.call.requested" => ("rings", parties(data)),
        "com.onsip.call.confirmed" => ("answered", parties(data)),
        "com.onsip.call.ended" => ("ended", format!("{}  {}", parties(data), outcome(data))),
        other => (other, text(&data["item_id"])),
    };
    format!("{clock}  {:<10} {verb:<9} {rest}", text(&data["account"]))
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

    #[test]
    fn a_call_reads_as_a_sentence() {
        let event = json!({
            "type": "com.onsip.call.ended", "time": "2026-01-01T12:00:01.000000Z",
            "data": {"account": "demo-1", "from_uri": "sip:a@x", "to_uri": "sip:b@y", "answered": true, "talk_seconds": 2.5}
        });
        assert_eq!(readable(&event), "12:00:01  demo-1     ended     a@x → b@y  (talked 2.5 s)");
    }

    #[test]
    fn an_event_that_says_nothing_is_still_a_line() {
        assert!(readable(&json!({"type": "x", "data": {}})).contains('?'));
    }
}
