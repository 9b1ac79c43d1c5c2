//! Streams as a peer writes them, in pieces of every size, and as it never should.

use proptest::prelude::*;

use super::*;
use crate::domain::limits::{STANZA_BYTES, STANZA_DEPTH};
use crate::seed::properties;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1'>";

/// What comes out of a stream that arrives in such pieces: a word per frame, and how it ends.
fn transcript<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> String {
    let mut intake = Intake::new();
    let mut seen = Vec::new();
    for mut bytes in pieces {
        while !bytes.is_empty() {
            match intake.take(bytes, &Hearing::nobody()) {
                Ok((_, None)) => break,
                Ok((used, Some(frame))) => {
                    bytes = &bytes[used..];
                    seen.push(word(&frame));
                }
                Err(NotXmpp) => {
                    seen.push("error".to_owned());
                    return seen.join(" ");
                }
            }
        }
    }
    if intake.is_closed() {
        seen.push("closed".to_owned());
    } else if !intake.is_empty() {
        seen.push("partial".to_owned());
    } else {
        assert_eq!(intake.begun.capacity(), 0, "an idle stream keeps no buffer");
    }
    seen.join(" ")
}

fn word(frame: &Frame) -> String {
    match frame {
        Frame::Note(_) => "message".to_owned(),
        Frame::Management(_) => "management".to_owned(),
        Frame::Element(element) => element.name().to_owned(),
        Frame::Oversize { stanza } => format!("oversize({stanza})"),
    }
}

fn after_header(text: &str) -> String {
    transcript([HEADER.as_bytes(), text.as_bytes()])
}

#[test]
fn frames_come_in_their_order_and_white_space_between_them_is_nothing() {
    assert_eq!(after_header(""), "");
    assert_eq!(after_header(" \r\n\t"), "");
    assert_eq!(
        after_header(
            "<stream:features/> <iq a='>'><b/><c>d</c></iq>\n<r xmlns='urn:xmpp:sm:3'/><message/></stream:stream>"
        ),
        "features iq management message closed"
    );
    assert_eq!(after_header("<iq><![CDATA[</iq>]]]]></iq><presence"), "iq partial");
    assert_eq!(after_header("</stream:stream><iq/>"), "closed");
    assert_eq!(
        transcript([&b" <stream:stream xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><a/>"[..]]),
        "a"
    );
}

#[test]
fn what_a_stream_may_not_hold_ends_it() {
    for bad in [
        "x",
        "<iq/>x",
        "<!-- x -->",
        "<?x y?>",
        "<?xml version='1.0'?>",
        "<!DOCTYPE x>",
        "<![CDATA[ ]]>",
        "<iq><!-- x --></iq>",
        "<iq><?x y?></iq>",
        "<iq><![cdata[ ]]></iq>",
        "<iq a='<'/>",
        "<>",
        "</>",
        "<iq></message>",
        "<iq><a>&nbsp;</iq>",
        "<iq><a></b>",
        "<iq></iqq>",
        "</iq>",
        "</stream:features>",
        "<x:iq/>",
        "<iq>\u{1}</iq>",
    ] {
        let bad = after_header(bad);
        assert!(bad.ends_with("error"), "{bad}");
    }
    let last = |bytes: &[u8]| transcript([HEADER.as_bytes(), bytes]);
    assert_eq!(last(b"<iq>\xff</iq>"), "error");
    assert_eq!(last(b"\0"), "error");
}

#[test]
fn a_stream_begins_with_its_header() {
    let streams = "xmlns:stream='http://etherx.jabber.org/streams'";
    for bad in [
        "<iq/>".to_owned(),
        "<iq>".to_owned(),
        "x".to_owned(),
        "</stream:stream>".to_owned(),
        "<stream:stream version='1.0'>".to_owned(),
        format!("<stream:stream {streams} version='0.9'>"),
        format!("<stream:stream {streams}>"),
        format!("<stream:stream {streams} version='1.0'/>"),
        format!("<?xml version='1.1'?><stream:stream {streams} version='1.0'>"),
        "<!DOCTYPE x>".to_owned(),
        "<!-- x -->".to_owned(),
    ] {
        assert_eq!(transcript([bad.as_bytes()]), "error", "{bad}");
    }
}

#[test]
fn too_large_or_too_deep_is_read_to_the_end_and_dropped() {
    let long = |length: usize| "x".repeat(length);
    let around = "<message></message>".len();
    let message = |length: usize| format!("<message>{}</message>", long(length));
    assert_eq!(after_header(&message(STANZA_BYTES - around)), "message");
    assert_eq!(after_header(&format!("{}<iq/>", message(STANZA_BYTES - around + 1))), "oversize(true) iq");
    assert_eq!(after_header(&format!("<x>{}</x><iq/>", long(2 * STANZA_BYTES))), "oversize(false) iq");
    let deep = |name: &str, levels: usize| {
        format!("<{name}>{}{}</{name}><iq/>", "<a>".repeat(levels - 1), "</a>".repeat(levels - 1))
    };
    assert_eq!(after_header(&deep("message", STANZA_DEPTH)), "message iq");
    assert_eq!(after_header(&deep("message", STANZA_DEPTH + 1)), "oversize(true) iq");
    assert_eq!(after_header(&deep("x", 1000)), "oversize(false) iq");
    let empty = format!("<x>{}<b/>{}</x><iq/>", "<a>".repeat(STANZA_DEPTH - 1), "</a>".repeat(STANZA_DEPTH - 1));
    assert_eq!(after_header(&empty), "oversize(false) iq");
    let multibyte = format!("<message>{}</message><iq/>", "é".repeat(STANZA_BYTES));
    assert_eq!(after_header(&multibyte), "oversize(true) iq");
}

#[test]
fn nothing_of_what_is_thrown_away_is_kept() {
    let mut intake = Intake::new();
    intake.take(HEADER.as_bytes(), &Hearing::nobody()).unwrap();
    intake.take(b"<message>", &Hearing::nobody()).unwrap();
    for _ in 0..(2 * STANZA_BYTES / 1024) {
        intake.take(&[b'x'; 1024], &Hearing::nobody()).unwrap();
        assert!(intake.begun.len() <= STANZA_BYTES);
    }
    assert_eq!(intake.begun.capacity(), 0);
    let (_, frame) = intake.take(b"</message>", &Hearing::nobody()).unwrap();
    assert!(matches!(frame, Some(Frame::Oversize { stanza: true })));
}

#[test]
fn a_start_tag_without_end_or_a_header_without_end_is_refused() {
    assert_eq!(after_header(&format!("<message a='{}", "x".repeat(STANZA_BYTES))), "error");
    assert_eq!(transcript([format!("<stream:stream a='{}", "x".repeat(STANZA_BYTES)).as_bytes()]), "error");
}

const SAMPLES: [&str; 10] = [
    "<iq a='>' b=\"'\"/>",
    "<message><event xmlns='http://jabber.org/protocol/pubsub#event'/><a>&amp;é😀</a></message>",
    "<x><![CDATA[]]]>]] </x>]]></x>",
    " \n",
    "<r xmlns='urn:xmpp:sm:3'/>",
    "<a xmlns='urn:xmpp:sm:3' h='3'/>",
    "<stream:error><x/></stream:error>",
    "<b/ >",
    "<c><!-- --></c>",
    "</stream:stream>",
];

properties! {
    cases: 256;

    /// However a stream is cut, the same comes out.
    #[test]
    fn where_a_stream_is_cut_makes_no_difference(
        picked in proptest::collection::vec(0..SAMPLES.len(), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let text: String = std::iter::once(HEADER).chain(picked.into_iter().map(|sample| SAMPLES[sample])).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]);
        let whole = transcript([text.as_bytes()]);
        prop_assert_eq!(transcript(pieces), whole.clone());
        prop_assert_eq!(transcript(text.as_bytes().chunks(1)), whole);
    }
}
