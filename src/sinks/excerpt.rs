//! What of a peer's text may be shown: a little of it, on one line.
//!
//! Must not know where the text comes from.

use crate::domain::limits::PEER_TEXT;

/// Returns the beginning of `text` on one line, without characters that steer a terminal.
pub(super) fn excerpt(text: &str) -> String {
    let mut shown = String::new();
    let mut room = PEER_TEXT;
    for word in text.split(is_blank).filter(|word| !word.is_empty()) {
        if !shown.is_empty() && room > 1 {
            shown.push(' ');
            room -= 1;
        }
        let cut = word.char_indices().nth(room).map_or(word.len(), |(place, _)| place);
        shown.push_str(&word[..cut]);
        room -= word[..cut].chars().count();
        if room == 0 {
            break;
        }
    }
    shown
}

/// Whether a character stands as a blank: white space, control characters, and those that turn the direction of a line
/// or take no room in it.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_on_one_line_and_not_at_length() {
        assert_eq!(excerpt(" <p>\r\n\tbad\0\u{202e} thing</p>\u{1b}[31m\u{9b}m\n"), "<p> bad thing</p> [31m m");
        assert_eq!(excerpt(&"☎".repeat(300)), "☎".repeat(200));
        assert_eq!(excerpt(&"ab ".repeat(300)).chars().count(), PEER_TEXT);
        assert_eq!(excerpt(""), "");
    }
}
