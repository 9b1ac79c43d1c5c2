//! What we write: the header of a stream, its elements, its footer.

use std::cell::RefCell;
use std::io;

use minidom::Element;
use xmpp_parsers::ns;
use xso::AsXml;
use xso::exports::rxml::bytes::BytesMut;
use xso::exports::rxml::writer::{Encoder, SimpleNamespaces, TrackNamespace};
use xso::exports::rxml::{Namespace, XmlVersion, xml_ncname};
use xso::exports::rxml::writer::Item;

thread_local! {
    /// Between two elements all streams are in the same state: one encoder does for them.
    static ENCODER: RefCell<Option<Encoder<SimpleNamespaces>>> = const { RefCell::new(None) };
}

/// The end of a stream.
pub(super) const FOOTER: &[u8] = b"</stream:stream>";

/// The header of a stream to `domain` (RFC 6120 section 4.7).
pub(super) fn header(domain: &str) -> io::Result<BytesMut> {
    begin(Some(domain)).map(|(_, header)| header)
}

/// Adds an element to what is to be sent.
pub(super) fn element(element: &Element, out: &mut Vec<u8>) -> io::Result<()> {
    ENCODER.with_borrow_mut(|ready| {
        // One that failed amid an element is not used again.
        let mut encoder = match ready.take() {
            Some(encoder) => encoder,
            None => begin(None)?.0,
        };
        let mut bytes = BytesMut::new();
        for item in element.as_xml_iter().map_err(invalid)? {
            let item = item.map_err(invalid)?;
            encoder.encode_into_bytes(item.as_rxml_item(), &mut bytes).map_err(invalid)?;
        }
        out.extend_from_slice(&bytes);
        *ready = Some(encoder);
        Ok(())
    })
}

fn begin(domain: Option<&str>) -> io::Result<(Encoder<SimpleNamespaces>, BytesMut)> {
    let mut encoder = Encoder::new();
    encoder.ns_tracker_mut().declare_fixed(Some(xml_ncname!("stream")), ns::STREAM.into());
    encoder.ns_tracker_mut().declare_fixed(None, ns::JABBER_CLIENT.into());
    let to = domain.map(|domain| Item::Attribute(Namespace::NONE, xml_ncname!("to"), domain));
    let items = [
        Item::XmlDeclaration(XmlVersion::V1_0),
        Item::ElementHeadStart(Namespace::from(ns::STREAM), xml_ncname!("stream")),
        Item::Attribute(Namespace::NONE, xml_ncname!("version"), "1.0"),
    ];
    let mut bytes = BytesMut::new();
    for item in items.into_iter().chain(to).chain([Item::ElementHeadEnd]) {
        encoder.encode_into_bytes(item, &mut bytes).map_err(invalid)?;
    }
    Ok((encoder, bytes))
}

fn invalid(fault: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, fault)
}
