//! Bytes of a client to stream events: opened, one element, closed.
//!
//! Must not know what an element means, nor where the bytes come from.

use minidom::Element;
use minidom::rxml::error::EndOrError;
use minidom::rxml::{Event, Parse, Parser};
use xso::{Context, FromEventsBuilder};

/// No client needs to send more than this in one element.
const MOST_BYTES: usize = 256 * 1024;

/// What a client did on its stream.
#[derive(Debug)]
pub enum Incoming {
    /// Sent a stream header; the `to` attribute.
    Opened(Option<String>),
    /// Sent one whole element.
    Element(Element),
    /// Sent the stream footer.
    Closed,
}

/// The stream is beyond repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Not well-formed.
    BadXml,
    /// One element was too large.
    TooLarge,
}

/// Reads one stream, from its header to its footer.
pub(super) struct StreamReader {
    parser: Parser,
    opened: bool,
    size: usize,
    element: Option<xso::minidom_compat::ElementFromEvents>,
}

impl StreamReader {
    /// A reader for a stream that has not begun.
    pub(super) fn new() -> Self {
        Self { parser: Parser::default(), opened: false, size: 0, element: None }
    }

    /// Takes bytes from `chunk` until an event is complete; `None` once all are used up.
    pub(super) fn read(&mut self, chunk: &mut &[u8]) -> Result<Option<Incoming>, Unreadable> {
        loop {
            let before = chunk.len();
            let parsed = self.parser.parse(chunk, false);
            self.size += before - chunk.len();
            if self.size > MOST_BYTES {
                return Err(Unreadable::TooLarge);
            }
            match parsed {
                Ok(Some(event)) => {
                    if let Some(incoming) = self.take(event)? {
                        self.size = 0;
                        return Ok(Some(incoming));
                    }
                }
                Ok(None) | Err(EndOrError::NeedMoreData) => return Ok(None),
                Err(EndOrError::Error(_)) => return Err(Unreadable::BadXml),
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<Option<Incoming>, Unreadable> {
        match event {
            Event::XmlDeclaration(..) => Ok(None),
            Event::StartElement(_, name, mut attrs) if !self.opened => {
                drop(name);
                self.opened = true;
                let to = attrs.remove(&minidom::rxml::Namespace::NONE, "to");
                Ok(Some(Incoming::Opened(to)))
            }
            event => self.content(event),
        }
    }

    fn content(&mut self, event: Event) -> Result<Option<Incoming>, Unreadable> {
        match (&event, &mut self.element) {
            (Event::StartElement(..), None) => {
                if let Event::StartElement(_, name, attrs) = event {
                    self.element = Some(xso::minidom_compat::ElementFromEvents::new(name, attrs));
                }
                Ok(None)
            }
            (Event::EndElement(_), None) => Ok(Some(Incoming::Closed)),
            (_, None) => {
                self.size = 0; // white space between stanzas keeps a link alive
                Ok(None)
            }
            (_, Some(builder)) => match builder.feed(event, &Context::empty()) {
                Ok(None) => Ok(None),
                Ok(Some(element)) => {
                    self.element = None;
                    Ok(Some(Incoming::Element(element)))
                }
                Err(_) => Err(Unreadable::BadXml),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream to='acme.test' xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

    #[test]
    fn elements_come_out_whole_however_the_bytes_are_cut() {
        let bytes = [HEADER, b"<iq id='1'><a xmlns='x'>t</a></iq> \n <presence/></stream:stream>"].concat();
        let mut reader = StreamReader::new();
        let mut seen = Vec::new();
        for byte in &bytes {
            let mut chunk = std::slice::from_ref(byte);
            while let Some(incoming) = reader.read(&mut chunk).unwrap() {
                seen.push(incoming);
            }
        }
        assert!(matches!(&seen[0], Incoming::Opened(Some(to)) if to == "acme.test"));
        assert!(matches!(&seen[1], Incoming::Element(iq) if iq.get_child("a", "x").unwrap().text() == "t"));
        assert!(matches!(&seen[2], Incoming::Element(presence) if presence.is("presence", "jabber:client")));
        assert!(matches!(seen[3], Incoming::Closed));
    }

    #[test]
    fn an_endless_element_is_refused() {
        let mut reader = StreamReader::new();
        let mut header = HEADER;
        reader.read(&mut header).unwrap();
        let mut result = reader.read(&mut &b"<message>"[..]);
        for _ in 0..1000 {
            result = reader.read(&mut &[b'x'; 1024][..]);
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result.unwrap_err(), Unreadable::TooLarge);
    }
}
