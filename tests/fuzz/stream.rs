//! The reader of streams, against an independent parser (`rxml`, through `minidom`): both find the same elements, or both
//! find none; and in whichever pieces the bytes arrive, the same comes out.
//!
//! Where the two may differ: what exceeds a limit is thrown away by ours only, and ours allows nothing but white space as
//! it is written between top-level elements (RFC 6120 section 11.7).

use minidom::{Element, Node};
use onsip_router::domain::limits::{ATTRIBUTES, NAMESPACE_BYTES, STANZA_NAMESPACES};
use onsip_router::protocol::hearing::Hearing;
use onsip_router::protocol::notification::Notification;
use onsip_router::protocol::stanza::{self, Outset};
use onsip_router::xmpp::{Frame, frames};
use xso::exports::rxml::{self, Event, Parse};

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
const FOOTER: &str = "</stream:stream>";

/// Pieces of XML.
pub const WORDS: &[&str] = &[
    "<",
    ">",
    "</",
    "/>",
    "'",
    "\"",
    "=",
    " ",
    "\n",
    "\r",
    "&",
    "&amp;",
    "&lt;",
    "&#65;",
    "&#x1F600;",
    "&#0;",
    "&quot;",
    "]]>",
    "<![CDATA[",
    "<!--",
    "-->",
    "<?",
    "?>",
    "<!DOCTYPE",
    ":",
    "xmlns",
    "xmlns:a",
    " xmlns=''",
    " xmlns:a='b'",
    " a:x='1'",
    "<a:b>",
    "</a:b>",
    "<iq>",
    "</iq>",
    "<message>",
    "</message>",
    "<a xmlns='b'/>",
    "</stream:stream>",
    "xml:lang",
    "é",
    "\u{fffe}",
    "\u{1}",
    "\u{85}",
    "\u{2028}",
    "1.0",
    "stream:",
    "<r xmlns='urn:xmpp:sm:3'/>",
];

pub fn run(input: &[u8]) {
    let document = [HEADER.as_bytes(), input, FOOTER.as_bytes()].concat();
    let hearing = Hearing::nobody();
    let (read, ended) = frames([&document[..]], &hearing);
    let at_once = format!("{read:?} {ended:?}");
    for size in [1, 7, HEADER.len() + 3] {
        let (read, ended) = frames(document.chunks(size), &hearing);
        assert_eq!(format!("{read:?} {ended:?}"), at_once, "in pieces of {size}");
    }
    if read.iter().any(|frame| matches!(frame, Frame::Oversize { .. })) {
        return;
    }
    let document = lines(&document);
    let parsed = match well_formed(&document) {
        Ok(()) => Element::from_reader(&document[..]).ok().filter(|root| root.texts().all(is_white_space)),
        // The other parser bounds names to 8 KiB; ours, the whole element.
        Err(fault) if fault.to_string().contains("long name") => return,
        Err(fault) if ended == Some(true) => panic!("only our reader accepts this: {fault}"),
        Err(_) => None,
    };
    match (ended, parsed) {
        (Some(true), Some(root)) => {
            let expected: Vec<_> = root.children().map(|child| expected(child, &hearing)).collect();
            assert_eq!(read.iter().map(shown).collect::<Vec<_>>(), expected);
        }
        (Some(true), None) => panic!("our reader accepts what is no tree, or text between elements"),
        // White space by other means is no white space between elements.
        (None, Some(root)) => {
            let text = String::from_utf8_lossy(input);
            let otherwise = text.contains("<![CDATA[") || text.contains("&#");
            // A top-level start tag beyond a limit ends the stream: whether the peer counts the element is not known.
            let beyond = text.matches("xmlns").count() > STANZA_NAMESPACES
                || text.split("xmlns").skip(1).any(|rest| quoted(rest) > NAMESPACE_BYTES)
                || root.children().any(|child| child.attrs().iter().count() > ATTRIBUTES);
            assert!(
                otherwise || beyond || text.split('<').any(declares_twice),
                "only the other parser accepts this: {}",
                String::from(&root)
            );
        }
        (None | Some(false), _) => {}
    }
}

/// Whether a start tag may declare a prefix, or the default namespace, twice. XML forbids that and the other parser does not
/// see it where both are empty.
fn declares_twice(tag: &str) -> bool {
    let tag = tag.split('>').next().unwrap_or_default();
    let declared = tag.split(|c: char| c.is_ascii_whitespace() || c == '\'' || c == '"');
    let declared: Vec<_> =
        declared.filter(|name| name.starts_with("xmlns")).map(|name| name.trim_end_matches('=')).collect();
    declared.iter().enumerate().any(|(at, name)| declared[..at].contains(name))
}

/// Ends all lines alike (XML 1.0 section 2.11): the other parser refuses a lone carriage return in an attribute's value.
fn lines(document: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(document.len());
    for (at, byte) in document.iter().enumerate() {
        match byte {
            b'\r' if document.get(at + 1) == Some(&b'\n') => {}
            b'\r' => all.push(b'\n'),
            byte => all.push(*byte),
        }
    }
    all
}

/// Reads up to the end of the stream; the tree builder alone lets attributes pass that stand twice.
fn well_formed(mut document: &[u8]) -> rxml::Result<()> {
    let (mut parser, mut depth) = (rxml::Parser::new(), 0);
    loop {
        match parser.parse(&mut document, true) {
            Ok(Some(Event::StartElement(..))) => depth += 1,
            Ok(Some(Event::EndElement(_))) if depth == 1 => return Ok(()),
            Ok(Some(Event::EndElement(_))) => depth -= 1,
            Ok(Some(_)) => {}
            Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => return Ok(()),
            Err(rxml::error::EndOrError::Error(fault)) => return Err(fault),
        }
    }
}

/// The length of the first value.
fn quoted(text: &str) -> usize {
    let Some((at, quote)) = text.char_indices().find(|(_, sign)| matches!(sign, '"' | '\'')) else { return 0 };
    text[at + 1..].find(quote).unwrap_or(0)
}

fn is_white_space(text: &str) -> bool {
    text.bytes().all(|byte| b" \t\r\n".contains(&byte))
}

/// The frame that an element should be.
fn expected(element: &Element, hearing: &Hearing) -> String {
    match stanza::outset(element) {
        Outset::Message => format!("{:?}", Notification::read(element, |from| hearing.kind_of(from))),
        Outset::Management(said) => format!("{said:?}"),
        Outset::Element => shape(element),
    }
}

fn shown(frame: &Frame) -> String {
    match frame {
        Frame::Note(note) => format!("{note:?}"),
        Frame::Management(said) => format!("{said:?}"),
        Frame::Element(element) => shape(element),
        Frame::Oversize { .. } => "oversize".to_owned(),
    }
}

/// What an element says, however its prefixes and texts are written.
fn shape(element: &Element) -> String {
    let attributes: Vec<_> =
        element.attrs().iter().map(|(name, value)| format!("{{{}}}{}={value:?}", name.0, name.1)).collect();
    let mut text = format!("{{{}}}{}{attributes:?}<", element.ns(), element.name());
    for node in element.nodes() {
        match node {
            Node::Element(child) => text += &shape(child),
            Node::Text(more) => text += more,
        }
    }
    text + ">"
}
