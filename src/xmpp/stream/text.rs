//! Text as XML writes it, and as it is meant: references, ends of lines, and which characters may stand at all
//! (XML 1.0 sections 2.2, 2.11, 3.3.3 and 4.6). No entities but the predefined ones (RFC 6120 section 11.1).

use std::borrow::Cow;

use super::NotXmpp;

/// What a piece of text holds besides ordinary characters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u8);

const PLAIN: u8 = 0;
const FORBIDDEN: u8 = 1;
/// `\t` and `\n`, which are blanks in an attribute.
const BLANK: u8 = 2;
const RETURN: u8 = 4;
const REFERENCE: u8 = 8;
/// The first byte of the characters U+F000 to U+FFFF, two of which are forbidden.
const HIGH: u8 = 16;
/// `]`, which may not begin `]]>` in text.
const BRACKET: u8 = 32;

const MARKS: [u8; 256] = {
    let mut marks = [PLAIN; 256];
    let mut at = 0;
    while at < 0x20 {
        marks[at] = FORBIDDEN;
        at += 1;
    }
    marks[b'\t' as usize] = BLANK;
    marks[b'\n' as usize] = BLANK;
    marks[b'\r' as usize] = RETURN;
    marks[b'&' as usize] = REFERENCE;
    marks[b']' as usize] = BRACKET;
    marks[0xef] = HIGH;
    marks
};

impl Marks {
    pub(super) fn see(&mut self, byte: u8) {
        self.0 |= MARKS[usize::from(byte)];
    }

    fn any(self, marks: u8) -> bool {
        self.0 & marks != 0
    }
}

/// Content of an element between two tags.
pub(super) fn content(raw: &str, marks: Marks) -> Result<Cow<'_, str>, NotXmpp> {
    if marks.any(BRACKET) && raw.contains("]]>") {
        return Err(NotXmpp);
    }
    check(raw, marks)?;
    if marks.any(RETURN | REFERENCE) { decode(raw, false).map(Cow::Owned) } else { Ok(Cow::Borrowed(raw)) }
}

/// Content of a CDATA section.
pub(super) fn cdata(raw: &str) -> Result<Cow<'_, str>, NotXmpp> {
    let mut marks = Marks::default();
    raw.bytes().for_each(|byte| marks.see(byte));
    check(raw, marks)?;
    Ok(if marks.any(RETURN) { Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n")) } else { Cow::Borrowed(raw) })
}

/// The value of an attribute.
pub(super) fn value(raw: &str, marks: Marks) -> Result<Cow<'_, str>, NotXmpp> {
    check(raw, marks)?;
    if marks.any(BLANK | RETURN | REFERENCE) { decode(raw, true).map(Cow::Owned) } else { Ok(Cow::Borrowed(raw)) }
}

fn check(raw: &str, marks: Marks) -> Result<(), NotXmpp> {
    let bad = marks.any(FORBIDDEN) || (marks.any(HIGH) && raw.contains(['\u{fffe}', '\u{ffff}']));
    if bad { Err(NotXmpp) } else { Ok(()) }
}

fn decode(raw: &str, attribute: bool) -> Result<String, NotXmpp> {
    let blank = |c| if attribute { ' ' } else { c };
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '\r', '\n', '\t']) {
        text.push_str(&rest[..at]);
        let mark = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        match mark {
            b'&' => {
                let (name, behind) = rest.split_once(';').ok_or(NotXmpp)?;
                text.push(reference(name).ok_or(NotXmpp)?);
                rest = behind;
            }
            b'\r' => {
                rest = rest.strip_prefix('\n').unwrap_or(rest);
                text.push(blank('\n'));
            }
            other => text.push(blank(char::from(other))),
        }
    }
    text.push_str(rest);
    Ok(text)
}

fn reference(name: &str) -> Option<char> {
    let number = |digits: &str, radix| {
        let sane = !digits.is_empty() && digits.bytes().all(|digit| char::from(digit).is_digit(radix));
        let number = sane.then(|| u32::from_str_radix(digits, radix).ok()).flatten()?;
        char::from_u32(number).filter(|c| may_stand(*c))
    };
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(hexadecimal), _) => number(hexadecimal, 16),
            (None, Some(decimal)) => number(decimal, 10),
            (None, None) => None,
        },
    }
}

/// The characters of XML 1.0 section 2.2.
fn may_stand(c: char) -> bool {
    match c {
        '\u{fffe}' | '\u{ffff}' => false,
        '\t' | '\n' | '\r' => true,
        other => other >= ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked<'a>(raw: &'a str, read: fn(&'a str, Marks) -> Result<Cow<'a, str>, NotXmpp>) -> Option<String> {
        let mut marks = Marks::default();
        raw.bytes().for_each(|byte| marks.see(byte));
        read(raw, marks).ok().map(Cow::into_owned)
    }

    #[test]
    fn references_are_replaced_once() {
        assert_eq!(marked("a&amp;lt;b&lt;&gt;&apos;&quot;", content).as_deref(), Some("a&lt;b<>'\""));
        assert_eq!(marked("&#65;&#x1F600;&#xe9;&#10;", content).as_deref(), Some("A😀é\n"));
        for bad in
            ["&", "&amp", "&nbsp;", "&#0;", "&#x0;", "&#xFFFE;", "&#xD800;", "&#x110000;", "&#;", "&#x;", "&#+5;", "&;"]
        {
            assert_eq!(marked(bad, content), None, "{bad}");
        }
    }

    #[test]
    fn ends_of_lines_are_one_newline_and_blanks_in_an_attribute() {
        assert_eq!(marked("a\r\nb\rc\n\td", content).as_deref(), Some("a\nb\nc\n\td"));
        assert_eq!(marked("a\r\nb\rc\n\td&#10;&#13;&#9;", value).as_deref(), Some("a b c  d\n\r\t"));
        assert_eq!(cdata("a\r\nb\r&amp;]]").unwrap(), "a\nb\n&amp;]]");
    }

    #[test]
    fn what_xml_forbids_is_refused() {
        for bad in ["\u{0}", "\u{1f}", "\u{fffe}", "x\u{ffff}"] {
            assert_eq!((marked(bad, content), marked(bad, value), cdata(bad).ok()), (None, None, None), "{bad:?}");
        }
        assert_eq!(marked("]]>", content), None);
        assert_eq!(marked("]]&gt;\u{fffd}\u{7f}", content).as_deref(), Some("]]>\u{fffd}\u{7f}"));
    }
}
