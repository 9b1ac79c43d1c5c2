//! How a stream begins and ends: the XML declaration, the header and the footer (RFC 6120 sections 4.2 and 11.5).

use xmpp_parsers::ns;

use super::NotXmpp;
use super::namespaces::Declared;
use super::reader::{Reader, Token};
use crate::protocol::stanza::Tag;

/// Checks an XML declaration: nothing but version 1.0 and UTF-8 is spoken here (RFC 6120 section 11.6).
pub(super) fn declaration(bytes: &[u8]) -> Result<(), NotXmpp> {
    let inner = bytes.strip_prefix(b"<?xml").and_then(|rest| rest.strip_suffix(b"?>")).ok_or(NotXmpp)?;
    // Its fields are written like attributes.
    let element = [b"<xml", inner, b"/>"].concat();
    let declared = Declared::none();
    let mut reader = Reader::new(&element, &declared)?;
    let start = reader.next()?;
    let tag = reader.tag();
    let encoding = tag.attribute("encoding").is_none_or(|encoding| encoding.eq_ignore_ascii_case("utf-8"));
    let known = start == Some(Token::Start) && tag.attribute("version") == Some("1.0") && encoding;
    if known { Ok(()) } else { Err(NotXmpp) }
}

/// Reads the header: what it declares for all that comes in the stream.
pub(super) fn read(bytes: &[u8]) -> Result<Declared, NotXmpp> {
    let nothing = Declared::none();
    let mut reader = Reader::beginning(bytes, &nothing)?;
    let start = reader.next()?;
    let tag = reader.tag();
    let ours = tag.is_named("stream", ns::STREAM) && tag.attribute("version") == Some("1.0");
    if start == Some(Token::Start) && ours { Ok(reader.declared()) } else { Err(NotXmpp) }
}

/// Checks that a footer ends the stream: its prefix must be one of the header's for streams.
pub(super) fn footer(bytes: &[u8], declared: &Declared) -> Result<(), NotXmpp> {
    let inner = bytes.strip_prefix(b"</").and_then(|rest| rest.strip_suffix(b">")).ok_or(NotXmpp)?;
    let name = std::str::from_utf8(inner).map_err(|_| NotXmpp)?.trim_ascii_end();
    let (prefix, name) = name.split_once(':').unwrap_or(("", name));
    if name == "stream" && declared.find(prefix) == Some(ns::STREAM) { Ok(()) } else { Err(NotXmpp) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_one_and_utf_8_are_spoken() {
        for good in ["<?xml version='1.0'?>", "<?xml version=\"1.0\" encoding='UTF-8' standalone='yes' ?>"] {
            assert_eq!(declaration(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in
            ["<?xml?>", "<?xml version='1.1'?>", "<?xml version='1.0' encoding='latin1'?>", "<?php version='1.0'?>"]
        {
            assert_eq!(declaration(bad.as_bytes()), Err(NotXmpp), "{bad}");
        }
    }

    #[test]
    fn a_header_is_of_a_stream_of_version_one() {
        let header = |attributes: &str| read(format!("<stream:stream {attributes}>").as_bytes());
        let streams = "xmlns:stream='http://etherx.jabber.org/streams'";
        let usual = header(&format!("xmlns='jabber:client' {streams} version='1.0' id='1' from='a' xml:lang='en'"));
        assert_eq!(usual, Ok(Declared::default()));
        let more = header(&format!("xmlns='jabber:client' {streams} xmlns:x='y' version='1.0'")).unwrap();
        assert_eq!((more.find("x"), more.find(""), more.find("z")), (Some("y"), Some("jabber:client"), None));
        assert!(header(&format!("{streams} version='0.9'")).is_err());
        assert!(header(streams).is_err());
        assert!(header("xmlns:stream='x' version='1.0'").is_err());
    }

    #[test]
    fn a_footer_has_the_prefix_of_the_header() {
        assert_eq!(footer(b"</stream:stream>", &Declared::default()), Ok(()));
        assert_eq!(footer(b"</stream:stream \n>", &Declared::default()), Ok(()));
        for bad in ["</stream>", "</stream:features>", "</ stream:stream>"] {
            assert_eq!(footer(bad.as_bytes(), &Declared::default()), Err(NotXmpp), "{bad}");
        }
        assert_eq!(footer(b"</stream>", &Declared::new(&[("", ns::STREAM)])), Ok(()));
    }
}
