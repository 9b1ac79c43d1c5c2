//! Phone numbers in an event, made unreadable: of five digits or more, only the last two stay.
//!
//! What may hold a number of a person: the parties of a call, the contact of a phone, and the content of an item. Names
//! of accounts and nodes are the operator's own and stay, and so do ids. Must not know who asks.

use serde_json::Value;

/// The keys of `data` that may hold a number.
const KEYS: [&str; 7] = ["from_uri", "to_uri", "to_aor", "from_display", "to_display", "contact", "payload"];
/// Shorter runs are extensions, ports and the like.
const LEAST: usize = 5;
/// Digits that stay, so that two calls can be told apart.
const SHOWN: usize = 2;
/// What people and programs put between the digits of a number, at most two in a row.
const BETWEEN: &[char] = &[' ', '-', '.', '(', ')', '/'];

/// `event` with its numbers masked; nothing of it, should it be no JSON.
pub(super) fn masked(event: &str) -> String {
    let Ok(mut event) = serde_json::from_str::<Value>(event) else { return "null".to_owned() };
    for key in KEYS {
        if let Some(Value::String(text)) = event.pointer_mut(&format!("/data/{key}")) {
            *text = hidden(text);
        }
    }
    event.to_string()
}

fn hidden(text: &str) -> String {
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let (number, after) = from.split_at(length(from));
        hidden.push_str(before);
        let digits = number.chars().filter(char::is_ascii_digit).count();
        let mut left = digits;
        for c in number.chars() {
            let masked = c.is_ascii_digit() && digits >= LEAST && left > SHOWN;
            left -= usize::from(c.is_ascii_digit());
            hidden.push(if masked { '•' } else { c });
        }
        rest = after;
    }
    hidden + rest
}

/// The length of the number at the beginning of `text`.
fn length(text: &str) -> usize {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if c.is_ascii_digit() {
            end = at + 1;
        } else if !BETWEEN.contains(&c) || at > end + 1 {
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_number_only_the_last_two_digits_stay_however_it_is_written() {
        for (shown, expected) in [
            ("sip:+12125557085@carrier.example", "sip:+•••••••••85@carrier.example"),
            ("\"Ann (212) 555-7085\"", "\"Ann (•••) •••-••85\""),
            ("12345", "•••45"),
            ("sip:1234@a.test", "sip:1234@a.test"),
            ("<n>5557085</n><n>1</n>", "<n>•••••85</n><n>1</n>"),
            ("no number", "no number"),
            ("é 5557085 é", "é •••••85 é"),
        ] {
            assert_eq!(hidden(shown), expected);
        }
    }

    #[test]
    fn an_event_keeps_its_ids_and_its_order_of_keys() {
        let event =
            r#"{"id":"1234567890","type":"x","data":{"call_id":"1234567","from_uri":"sip:5557085@x","to_uri":null}}"#;
        assert_eq!(
            masked(event),
            r#"{"id":"1234567890","type":"x","data":{"call_id":"1234567","from_uri":"sip:•••••85@x","to_uri":null}}"#
        );
    }
}
