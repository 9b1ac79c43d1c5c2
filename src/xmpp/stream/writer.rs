//! What we write: the header of a stream, its elements, its footer.

use std::cell::RefCell;
use std::io;

use minidom::Element;
use xmpp_parsers::ns;
use xso::AsXml;
use xso::exports::rxml::bytes::BytesMut;
use xso::exports::rxml::writer::Item;
use xso::exports::rxml::writer::{Encoder, SimpleNamespaces, TrackNamespace};
use xso::exports::rxml::{Namespace, NcNameStr};

thread_local! {
    /// Between two elements all streams are in the same state: one encoder does for them.
    static ENCODER: RefCell<Option<Encoder<SimpleNamespaces>>> = const { RefCell::new(None) };
}

/// The end of a stream.
pub(super) const FOOTER: &[u8] = b"</stream:stream>";

/// The header of a stream to `domain` (RFC 6120 section 4.7), which is a domain and so has nothing in it to escape.
pub(super) fn header(domain: &str) -> String {
    let (client, stream) = (ns::JABBER_CLIENT, ns::STREAM);
    format!("<?xml version='1.0'?><stream:stream xmlns='{client}' xmlns:stream='{stream}' to='{domain}' version='1.0'>")
}

/// Adds an element to what is to be sent.
pub(super) fn element(element: &Element, out: &mut Vec<u8>) -> io::Result<()> {
    ENCODER.with_borrow_mut(|ready| {
        // One that failed amid an element is not used again.
        let mut encoder = match ready.take() {
            Some(encoder) => encoder,
            None => begin()?,
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

/// An encoder for what comes inside a stream.
fn begin() -> io::Result<Encoder<SimpleNamespaces>> {
    let name = <&NcNameStr>::try_from("stream").map_err(invalid)?;
    let mut encoder = Encoder::new();
    encoder.ns_tracker_mut().declare_fixed(Some(name), ns::STREAM.into());
    encoder.ns_tracker_mut().declare_fixed(None, ns::JABBER_CLIENT.into());
    let mut header = BytesMut::new();
    for item in [Item::ElementHeadStart(Namespace::from(ns::STREAM), name), Item::ElementHeadEnd] {
        encoder.encode_into_bytes(item, &mut header).map_err(invalid)?;
    }
    Ok(encoder)
}

fn invalid(fault: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, fault)
}
