//! What of a peer's text may be shown: a little of it, on one line.
//!
//! Must not know where the text comes from.

use crate::domain::limits::PEER_TEXT;
use crate::domain::printable::is_hidden;

/// Stands where the rest of a text was cut off.
pub(super) const CUT: char = '…';

/// Returns the beginning of `text` on one line, without characters that steer a terminal or deceive the eye.
pub(super) fn excerpt(text: &str) -> String {
    let mut shown = String::new();
    let mut room = PEER_TEXT;
    let mut blank = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            blank = room < PEER_TEXT;
        } else if !is_hidden(c) {
            let needed = 1 + usize::from(blank);
            if room < needed {
                // What was cut must not look whole.
                shown.pop();
                shown.push(CUT);
                break;
            }
            if std::mem::take(&mut blank) {
                shown.push(' ');
            }
            shown.push(c);
            room -= needed;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f9_a_text_is_shown_on_one_line_and_not_at_length() {
        assert_eq!(excerpt(" <p>\r\n\tbad\0\u{202e} thing</p>\u{1b}[31m\u{9b}m\n"), "<p> bad thing</p> [31m m");
        assert_eq!(excerpt("pay\u{200b}load\u{e0041} \u{3164}is\u{fe0f}\u{61c} bad"), "payload is bad");
        assert_eq!(excerpt(&"☎".repeat(PEER_TEXT)), "☎".repeat(PEER_TEXT));
        assert_eq!(excerpt(&"☎".repeat(300)), format!("{}…", "☎".repeat(PEER_TEXT - 1)));
        assert_eq!(excerpt(&"ab ".repeat(300)).chars().count(), PEER_TEXT);
        assert_eq!(excerpt(""), "");
    }
}
