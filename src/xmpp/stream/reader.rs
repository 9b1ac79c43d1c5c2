//! Reads the XML of one top-level element: tags and text, checked to be well-formed.
//!
//! Made for what XMPP leaves of XML (RFC 6120 section 11): no declarations, comments or entities to know of, and the
//! whole element at hand, so that names and most text are borrowed from it.

use std::borrow::Cow;

use xso::exports::rxml::NcNameStr;

use super::NotXmpp;
use super::namespaces::{Declared, Namespaces, Place};
use super::text::{self, Marks};
use crate::domain::limits::{ATTRIBUTES, NAMESPACE_BYTES};
use crate::protocol::stanza::Tag;

/// Attributes up to which each is compared with each other.
const FEW: usize = 8;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A start tag: [`Reader::tag`].
    Start,
    /// The end of the element that was started last.
    End,
    /// Text, or a piece of it.
    Text(Cow<'a, str>),
}

/// Reads one element.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    namespaces: Namespaces<'a>,
    attributes: Vec<Attribute<'a>>,
    open: Vec<Open<'a>>,
    /// Whether the element that was started last was an empty one, and its end is still to be told.
    empty: bool,
    /// Whether it cannot be read because it exceeds a limit, and not because it is no XML.
    oversize: bool,
}

/// An attribute that declares no namespace.
#[derive(Debug)]
pub(super) struct Attribute<'a> {
    prefix: &'a str,
    pub(super) name: &'a str,
    place: Place,
    pub(super) value: Cow<'a, str>,
}

#[derive(Clone, Copy, Debug)]
struct Open<'a> {
    name: Name<'a>,
    place: Place,
    /// Namespaces in force before its own.
    outer: usize,
}

/// A name as written, and the length of its prefix.
#[derive(Clone, Copy, Debug)]
struct Name<'a> {
    whole: &'a str,
    colon: Option<usize>,
}

impl<'a> Name<'a> {
    fn prefix(self) -> &'a str {
        self.colon.map_or("", |colon| &self.whole[..colon])
    }

    fn local(self) -> &'a str {
        self.colon.map_or(self.whole, |colon| &self.whole[colon + 1..])
    }
}

/// The start tag that was read last.
#[derive(Clone, Copy)]
pub(super) struct Start<'r, 'a>(&'r Reader<'a>);

impl<'a> Reader<'a> {
    /// For one element, in a stream that declares these namespaces.
    pub(super) fn new(bytes: &'a [u8], declared: &'a Declared) -> Result<Self, NotXmpp> {
        Ok(Self {
            text: std::str::from_utf8(bytes).map_err(|_| NotXmpp)?,
            at: 0,
            namespaces: Namespaces::new(declared),
            attributes: Vec::with_capacity(FEW),
            open: Vec::with_capacity(FEW),
            empty: false,
            oversize: false,
        })
    }

    /// For the start tag of one element whose rest is not there; it may be cut off amid a character.
    pub(super) fn beginning(bytes: &'a [u8], declared: &'a Declared) -> Result<Self, NotXmpp> {
        match std::str::from_utf8(bytes) {
            Ok(_) => Self::new(bytes, declared),
            Err(fault) => Self::new(&bytes[..fault.valid_up_to()], declared),
        }
    }

    /// The next token; `None` behind the last end.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, NotXmpp> {
        if std::mem::take(&mut self.empty) {
            self.close();
            return Ok(Some(Token::End));
        }
        let rest = &self.text.as_bytes()[self.at..];
        match rest {
            [] if self.open.is_empty() => Ok(None),
            [b'<', b'/', ..] => self.end().map(|()| Some(Token::End)),
            [b'<', b'!', ..] => self.cdata().map(Some),
            [b'<', ..] => self.start().map(|()| Some(Token::Start)),
            [] => Err(NotXmpp),
            _ => self.content().map(Some),
        }
    }

    /// The start tag that [`Self::next`] read last.
    pub(super) fn tag(&self) -> Start<'_, 'a> {
        Start(self)
    }

    /// Whether reading failed because of a limit.
    pub(super) fn is_oversize(&self) -> bool {
        self.oversize
    }

    /// Gives up: the element exceeds a limit.
    pub(super) fn exceed<T>(&mut self) -> Result<T, NotXmpp> {
        self.oversize = true;
        Err(NotXmpp)
    }

    /// Passes over the rest of the element that was started last.
    pub(super) fn pass(&mut self) -> Result<(), NotXmpp> {
        let depth = self.open.len();
        while self.open.len() >= depth {
            self.next()?.ok_or(NotXmpp)?;
        }
        Ok(())
    }

    /// The namespaces that are in force now, all of them declared in what was read.
    pub(super) fn declared(&self) -> Declared {
        self.namespaces.inside()
    }

    fn content(&mut self) -> Result<Token<'a>, NotXmpp> {
        let mut marks = Marks::default();
        let bytes = &self.text.as_bytes()[self.at..];
        let length = bytes.iter().position(|&byte| {
            marks.see(byte);
            byte == b'<'
        });
        // What is open is not closed yet, so there must be another tag.
        let raw = &self.text[self.at..self.at + length.filter(|_| !self.open.is_empty()).ok_or(NotXmpp)?];
        self.at += raw.len();
        text::content(raw, marks).map(Token::Text)
    }

    fn cdata(&mut self) -> Result<Token<'a>, NotXmpp> {
        let section =
            self.text[self.at..].strip_prefix("<![CDATA[").filter(|_| !self.open.is_empty()).ok_or(NotXmpp)?;
        let length = section.find("]]>").ok_or(NotXmpp)?;
        self.at = self.text.len() - section.len() + length + "]]>".len();
        text::cdata(&section[..length]).map(Token::Text)
    }

    fn end(&mut self) -> Result<(), NotXmpp> {
        self.at += "</".len();
        let open = self.open.last().ok_or(NotXmpp)?;
        let rest = self.text[self.at..].strip_prefix(open.name.whole).ok_or(NotXmpp)?;
        self.at += open.name.whole.len();
        if rest.starts_with('>') {
            self.at += 1;
        } else {
            self.blanks();
            self.expect(b'>')?;
        }
        self.close();
        Ok(())
    }

    fn close(&mut self) {
        if let Some(open) = self.open.pop() {
            self.namespaces.leave(open.outer);
        }
    }

    fn start(&mut self) -> Result<(), NotXmpp> {
        if self.open.is_empty() && self.at > 0 {
            return Err(NotXmpp); // a second element
        }
        self.at += 1;
        let name = self.name()?;
        let outer = self.namespaces.count();
        self.attributes.clear();
        loop {
            let blanks = self.blanks();
            match self.peek() {
                Some(b'>') => {
                    self.at += 1;
                    break;
                }
                Some(b'/') => {
                    self.at += 1;
                    self.expect(b'>')?;
                    self.empty = true;
                    break;
                }
                Some(_) if blanks => self.attribute(outer)?,
                Some(_) | None => return Err(NotXmpp),
            }
        }
        for attribute in self.attributes.iter_mut().filter(|attribute| !attribute.prefix.is_empty()) {
            attribute.place = self.namespaces.place(attribute.prefix)?;
        }
        self.check_unique()?;
        self.open.push(Open { name, place: self.namespaces.place(name.prefix())?, outer });
        Ok(())
    }

    fn attribute(&mut self, outer: usize) -> Result<(), NotXmpp> {
        let name = self.name()?;
        self.blanks();
        self.expect(b'=')?;
        self.blanks();
        let quote = self.peek().filter(|quote| matches!(quote, b'"' | b'\'')).ok_or(NotXmpp)?;
        self.at += 1;
        let mut marks = Marks::default();
        let bytes = &self.text.as_bytes()[self.at..];
        let length = bytes.iter().position(|&byte| {
            marks.see(byte);
            byte == quote || byte == b'<'
        });
        let raw = &self.text[self.at..self.at + length.ok_or(NotXmpp)?];
        self.at += raw.len();
        self.expect(quote)?;
        let value = text::value(raw, marks)?;
        let (prefix, local) = (name.prefix(), name.local());
        let declares = prefix == "xmlns" || name.whole == "xmlns";
        if self.attributes.len() >= ATTRIBUTES || (declares && value.len() > NAMESPACE_BYTES) {
            return self.exceed();
        }
        if prefix == "xmlns" {
            return self.namespaces.declare(local, value, outer);
        }
        if name.whole == "xmlns" {
            return self.namespaces.declare("", value, outer);
        }
        self.attributes.push(Attribute { prefix, name: local, place: Place::Nowhere, value });
        Ok(())
    }

    /// No attribute may stand twice, under whichever prefix (Namespaces in XML 1.0 section 6.3).
    fn check_unique(&self) -> Result<(), NotXmpp> {
        let name =
            |attribute: &Attribute<'a>| (attribute.name, self.namespaces.name(attribute.place, attribute.prefix));
        let all = &self.attributes;
        let twice = if all.len() <= FEW {
            all.iter().enumerate().any(|(at, one)| {
                let mut others = all[at + 1..].iter();
                others.any(|other| one.name == other.name && name(one) == name(other))
            })
        } else {
            let mut names: Vec<_> = all.iter().map(name).collect();
            names.sort_unstable();
            names.windows(2).any(|pair| pair[0] == pair[1])
        };
        if twice { Err(NotXmpp) } else { Ok(()) }
    }

    fn name(&mut self) -> Result<Name<'a>, NotXmpp> {
        let rest = &self.text[self.at..];
        let mut colon = None;
        let mut ascii = true;
        let length = rest.bytes().position(|byte| {
            match byte {
                b':' if colon.is_none() => colon = Some(()),
                0x80.. => ascii = false,
                _ => {}
            }
            !is_name(byte)
        });
        let whole = &rest[..length.unwrap_or(rest.len())];
        self.at += whole.len();
        let name = Name { whole, colon: colon.and_then(|()| whole.find(':')) };
        let valid = |part: &str| match part.as_bytes() {
            [] => false,
            [first, ..] if ascii => {
                is_name(*first) && !matches!(first, b'-' | b'.' | b'0'..=b'9') && !part.contains(':')
            }
            _ => <&NcNameStr>::try_from(part).is_ok(),
        };
        let prefixed = name.colon.is_none() || valid(name.prefix());
        if prefixed && valid(name.local()) { Ok(name) } else { Err(NotXmpp) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotXmpp> {
        if self.peek() != Some(byte) {
            return Err(NotXmpp);
        }
        self.at += 1;
        Ok(())
    }

    /// Passes over white space; whether there was any.
    fn blanks(&mut self) -> bool {
        let before = self.at;
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
        self.at > before
    }
}

/// Whether a byte may be part of a name; what is not ASCII is looked at more closely.
fn is_name(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | 0x80..)
}

impl<'r, 'a> Start<'r, 'a> {
    /// Its attributes, with their namespaces.
    pub(super) fn attributes(self) -> impl Iterator<Item = (&'r Attribute<'a>, &'r str)> {
        let namespaces = &self.0.namespaces;
        self.0.attributes.iter().map(|attribute| (attribute, namespaces.name(attribute.place, attribute.prefix)))
    }

    /// Its namespace.
    pub(super) fn namespace(self) -> &'r str {
        self.0.open.last().map_or("", |open| self.0.namespaces.name(open.place, open.name.prefix()))
    }

    /// Its name.
    pub(super) fn local(self) -> &'a str {
        self.0.open.last().map_or("", |open| open.name.local())
    }
}

impl Tag for Start<'_, '_> {
    fn name(&self) -> &str {
        self.local()
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        self.namespace() == namespace
    }

    fn attribute(&self, name: &'static str) -> Option<&str> {
        let mut plain = self.0.attributes.iter().filter(|attribute| attribute.prefix.is_empty());
        plain.find(|attribute| attribute.name == name).map(|attribute| &*attribute.value)
    }
}
