//! Texts that a peer wrote, made fit to be shown: what steers a terminal or deceives the eye does not go out as it is.
//!
//! JSON keeps its value: such a character is written as `\uXXXX`, which is the same string to whoever reads it. Outside of
//! strings JSON is ASCII, so the characters can be replaced without a look at where they stand. Must not know who shows it.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character steers a terminal, DEL and C1 included.
const fn steers(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}')
}

/// Whether a character is invisible, breaks a line or turns the direction of what follows.
const fn deceives(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether a character is not to be shown to a person as it is.
#[must_use]
pub const fn is_hidden(c: char) -> bool {
    steers(c) || deceives(c)
}

/// Returns JSON for a program that may hand it on to a terminal: DEL and C1 are escaped. C0 stands in no JSON.
#[must_use]
pub fn in_pipe(json: &str) -> Cow<'_, str> {
    // Every event passes here, so only its bytes are looked at. C1 is 0xC2 and a byte below 0xA0.
    if memchr::memchr2(0x7f, 0xc2, json.as_bytes()).is_some() {
        escaped(json, |c| matches!(c, '\u{7f}'..='\u{9f}'))
    } else {
        Cow::Borrowed(json)
    }
}

/// Returns JSON for a terminal: escapes besides what is invisible and what turns the direction of text. Line breaks between
/// values stay.
#[must_use]
pub fn on_terminal(json: &str) -> Cow<'_, str> {
    escaped(json, |c| is_hidden(c) && !matches!(c, '\t' | '\n' | '\r'))
}

fn escaped(json: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = json.find(&hidden) else { return Cow::Borrowed(json) };
    let (shown, rest) = json.split_at(first);
    let mut text = String::with_capacity(json.len() + 64);
    text.push_str(shown);
    for c in rest.chars() {
        if hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::seed::properties;

    const NAME: &str = "\u{9b}31m\u{7f}\u{202e}gnp.exe\u{2066}\u{200b}\u{feff}\u{e0041}é\u{a0}";

    fn read(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn c11_a_display_name_can_neither_steer_a_terminal_nor_deceive_the_eye() {
        let json = serde_json::json!({ "from_display": NAME }).to_string();
        let (piped, shown) = (in_pipe(&json), on_terminal(&json));
        assert_eq!(
            piped,
            "{\"from_display\":\"\\u009b31m\\u007f\u{202e}gnp.exe\u{2066}\u{200b}\u{feff}\u{e0041}é\u{a0}\"}"
        );
        assert_eq!(
            shown,
            "{\"from_display\":\"\\u009b31m\\u007f\\u202egnp.exe\\u2066\\u200b\\ufeff\\udb40\\udc41é\u{a0}\"}"
        );
        assert!(read(&piped) == read(&json) && read(&shown) == read(&json));
    }

    #[test]
    fn what_is_harmless_is_not_even_copied() {
        for json in ["{\"a\":\"+1 212 555 0111\"}", "[\n  \"Zoë 日本\"\n]"] {
            assert!(matches!(in_pipe(json), Cow::Borrowed(_)) && matches!(on_terminal(json), Cow::Borrowed(_)));
        }
    }

    properties! {
        cases: 256;

        #[test]
        fn c11_whatever_stands_in_it_the_value_is_the_same_and_nothing_hidden_is_left(text in any::<String>()) {
            let json = Value::from(text).to_string();
            let (piped, shown) = (in_pipe(&json), on_terminal(&json));
            prop_assert_eq!(read(&piped), read(&json));
            prop_assert_eq!(read(&shown), read(&json));
            prop_assert!(!piped.contains(steers) && !shown.contains(is_hidden));
        }
    }
}
