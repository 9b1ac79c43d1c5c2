//! What of a foreign text may be shown: a little of it, on one line, without our secrets, which servers like to repeat.
//!
//! Must not know where the text comes from.

/// So many characters are enough to say what is wrong.
const LONGEST: usize = 200;
/// Stands where a secret stood.
const BLACK: &str = "[secret]";

/// Knows what nobody may read.
pub(super) struct Censor {
    /// The longest first: one may be part of another.
    secrets: Vec<String>,
}

impl Censor {
    pub(super) fn of(secrets: impl Iterator<Item = String>) -> Self {
        let mut secrets: Vec<_> = secrets.filter(|secret| !secret.is_empty()).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// What may be shown of `text`.
    pub(super) fn excerpt(&self, text: &str) -> String {
        let censored = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), BLACK));
        let printable = |c: char| if c.is_control() || is_invisible(c) { ' ' } else { c };
        let plain: String = censored.chars().map(printable).collect();
        let words: Vec<_> = plain.split_whitespace().collect();
        words.join(" ").chars().take(LONGEST).collect()
    }
}

/// Characters that turn the direction of a line, or take no room in it.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(secrets: &[&str], text: &str) -> String {
        Censor::of(secrets.iter().map(|secret| (*secret).to_owned())).excerpt(text)
    }

    #[test]
    fn a_text_is_shown_on_one_line_and_not_at_length() {
        assert_eq!(excerpt(&[], " <p>\r\n\tbad\0\u{202e} thing</p>\u{1b}[31m\n"), "<p> bad thing</p> [31m");
        assert_eq!(excerpt(&[], &"☎".repeat(300)), "☎".repeat(200));
        assert_eq!(excerpt(&[], ""), "");
    }

    #[test]
    fn a_secret_is_blacked_out_also_at_the_edge_and_within_another() {
        assert_eq!(excerpt(&["hunter2", "whsec_hunter2"], "key whsec_hunter2 or hunter2"), "key [secret] or [secret]");
        let edge = format!("{}hunter2", "x".repeat(197));
        assert_eq!(excerpt(&["hunter2"], &edge), format!("{}[se", "x".repeat(197)));
        assert_eq!(excerpt(&["two words"], "two words"), "[secret]");
        assert_eq!(excerpt(&[""], "text"), "text");
    }
}
