//! One top-level element of a stream, whole or over the cap.
//!
//! The library reads stanzas of any size and nests as deep as the peer likes; a hostile one must cost neither memory
//! nor the stack, and not the session either.

use minidom::Element;
use xso::error::{Error, FromEventsError};
use xso::exports::rxml::{AttrMap, Event, QName};
use xso::{Context, FromEventsBuilder, FromXml};

use crate::protocol::stanza;

/// Bytes of one top-level element that are kept at most.
pub const MOST_BYTES: usize = 256 * 1024;
/// Levels of nesting that are kept at most.
pub const MOST_DEPTH: usize = 64;

/// One top-level element.
#[derive(Debug)]
pub enum Frame {
    /// Read whole.
    Whole(Element),
    /// Larger or deeper than the cap; it was read to its end and thrown away.
    Oversize {
        /// Whether it was a stanza, which the peer counts.
        stanza: bool,
    },
}

/// Builds a [`Frame`] from parser events.
pub struct FrameBuilder {
    element: Option<<Element as FromXml>::Builder>,
    bytes: usize,
    depth: usize,
    stanza: bool,
}

impl FromXml for Frame {
    type Builder = FrameBuilder;

    fn from_events(name: QName, attrs: AttrMap, ctx: &Context<'_>) -> Result<FrameBuilder, FromEventsError> {
        let stanza = stanza::is_stanza(name.0.as_str(), name.1.as_str());
        let element = Element::from_events(name, attrs, ctx)?;
        Ok(FrameBuilder { element: Some(element), bytes: 0, depth: 1, stanza })
    }
}

impl FromEventsBuilder for FrameBuilder {
    type Output = Frame;

    fn feed(&mut self, event: Event, ctx: &Context<'_>) -> Result<Option<Frame>, Error> {
        self.bytes = self.bytes.saturating_add(event.metrics().len());
        match &event {
            Event::StartElement(..) => self.depth += 1,
            Event::EndElement(_) => self.depth -= 1,
            Event::Text(..) | Event::XmlDeclaration(..) => {}
        }
        if self.bytes > MOST_BYTES || self.depth > MOST_DEPTH {
            self.element = None;
        }
        match &mut self.element {
            Some(element) => Ok(element.feed(event, ctx)?.map(Frame::Whole)),
            None if self.depth == 0 => Ok(Some(Frame::Oversize { stanza: self.stanza })),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Frame {
        xso::from_bytes(xml.as_bytes()).unwrap()
    }

    #[test]
    fn an_ordinary_stanza_is_read_whole() {
        assert!(matches!(read("<message xmlns='jabber:client'><body>x</body></message>"), Frame::Whole(_)));
    }

    #[test]
    fn too_large_or_too_deep_is_read_to_the_end_and_dropped() {
        let text = "x".repeat(MOST_BYTES + 1);
        assert!(matches!(
            read(&format!("<message xmlns='jabber:client'>{text}</message>")),
            Frame::Oversize { stanza: true }
        ));
        let deep = format!("<m xmlns='jabber:client'>{}{}</m>", "<a>".repeat(1000), "</a>".repeat(1000));
        assert!(matches!(read(&deep), Frame::Oversize { stanza: false }));
    }
}
