//! One top-level element of a stream, read as far as its kind needs it.

use minidom::Element;
use xso::exports::rxml::{Namespace, NcName};

use super::NotXmpp;
use super::namespaces::Declared;
use super::reader::{Reader, Start, Token};
use crate::domain::limits::STANZA_ELEMENTS;
use crate::protocol::hearing::Hearing;
use crate::protocol::notification::{Notification, Reading, Wanted};
use crate::protocol::stanza::{self, Management, Outset};

/// One top-level element.
#[derive(Debug)]
pub enum Frame {
    /// A message.
    Note(Notification),
    /// What the server says about the stream itself.
    Management(Management),
    /// Anything else.
    Element(Element),
    /// Larger or deeper than the cap; it was read to its end and thrown away.
    Oversize {
        /// Whether it was a stanza, which the peer counts.
        stanza: bool,
    },
}

impl Frame {
    /// Reads a whole element.
    pub(super) fn read(bytes: &[u8], declared: &Declared, hearing: &Hearing) -> Result<Self, NotXmpp> {
        let mut reader = Reader::new(bytes, declared)?;
        if reader.next()? != Some(Token::Start) {
            return Err(NotXmpp);
        }
        let outset = stanza::outset(&reader.tag());
        let stanza = matches!(outset, Outset::Message) || stanza::is_stanza(&reader.tag());
        match Self::read_rest(&mut reader, outset, hearing) {
            Err(NotXmpp) if reader.is_oversize() => Ok(Self::Oversize { stanza }),
            read => read,
        }
    }

    fn read_rest(reader: &mut Reader<'_>, outset: Outset, hearing: &Hearing) -> Result<Self, NotXmpp> {
        let frame = match outset {
            Outset::Message => {
                let mut reading = Notification::begin(&reader.tag(), hearing);
                message(reader, &mut reading)?;
                Self::Note(reading.finish())
            }
            Outset::Management(said) => {
                reader.pass()?;
                Self::Management(said)
            }
            Outset::Element => Self::Element(element(reader)?),
        };
        match reader.next()? {
            None => Ok(frame),
            Some(_) => Err(NotXmpp),
        }
    }

    /// Reads the beginning of an element of which the rest is thrown away.
    pub(super) fn oversize(bytes: &[u8], declared: &Declared) -> Result<Self, NotXmpp> {
        let mut reader = Reader::beginning(bytes, declared)?;
        match reader.next()? {
            Some(Token::Start) => Ok(Self::Oversize { stanza: stanza::is_stanza(&reader.tag()) }),
            Some(Token::End | Token::Text(_)) | None => Err(NotXmpp),
        }
    }
}

/// Shows a message to who reads it.
fn message(reader: &mut Reader<'_>, reading: &mut Reading) -> Result<(), NotXmpp> {
    let mut depth = 0;
    loop {
        match reader.next()?.ok_or(NotXmpp)? {
            Token::Start => match reading.start(&reader.tag()) {
                Wanted::Content => depth += 1,
                Wanted::Whole => reading.whole(&element(reader)?),
                Wanted::Nothing => reader.pass()?,
            },
            Token::Text(text) => reading.text(&text),
            Token::End if depth == 0 => return Ok(()),
            Token::End => {
                depth -= 1;
                reading.end();
            }
        }
    }
}

/// Reads the rest of an element whose start tag was read.
fn element(reader: &mut Reader<'_>) -> Result<Element, NotXmpp> {
    let mut outer: Vec<Element> = Vec::new();
    let mut inner = bare(reader.tag());
    let mut elements = 1;
    loop {
        match reader.next()?.ok_or(NotXmpp)? {
            Token::Start if elements >= STANZA_ELEMENTS => return reader.exceed(),
            Token::Start => {
                elements += 1;
                outer.push(std::mem::replace(&mut inner, bare(reader.tag())));
            }
            Token::Text(text) if text.is_empty() => {}
            Token::Text(text) => inner.append_text(text),
            Token::End => match outer.pop() {
                Some(parent) => {
                    let child = std::mem::replace(&mut inner, parent);
                    inner.append_child(child);
                }
                None => return Ok(inner),
            },
        }
    }
}

fn bare(tag: Start<'_, '_>) -> Element {
    let mut builder = Element::builder(tag.local(), tag.namespace());
    for (attribute, namespace) in tag.attributes() {
        // The reader let it pass, so it is a name.
        if let Ok(name) = NcName::try_from(attribute.name) {
            builder = builder.attr_ns(Namespace::from(namespace.to_owned()), name, &*attribute.value);
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests;
