//! Elements read by us and by the library: both must see the same, or both refuse.

use proptest::prelude::*;
use xmpp_parsers::jid::FullJid;

use super::*;
use crate::domain::service::{Service, ServiceKind};
use crate::seed::properties;

const OWN: &str = "front@acme.test/router";

fn read(xml: &str) -> Result<Frame, NotXmpp> {
    Frame::read(xml.as_bytes(), &Declared::none(), &Hearing::nobody())
}

fn hearing(kind: ServiceKind) -> Hearing {
    let name = match kind {
        ServiceKind::Calls => "active-calls",
        ServiceKind::Registrations => "user-agents",
        ServiceKind::Items => "voicemail",
    };
    Hearing::new(FullJid::new(OWN).unwrap(), [Service::new(name, "x.test").unwrap()].into())
}

/// As the element is read where it is not needed as a message.
fn whole(xml: &str) -> Result<Element, NotXmpp> {
    let declared = Declared::none();
    let mut reader = Reader::new(xml.as_bytes(), &declared)?;
    if reader.next()? != Some(Token::Start) {
        return Err(NotXmpp);
    }
    let element = element(&mut reader)?;
    if reader.next()?.is_some() { Err(NotXmpp) } else { Ok(element) }
}

/// As the library reads it, with pieces of text that stand side by side made one.
fn library(xml: &[u8]) -> Option<Element> {
    fn joined(element: &Element) -> Element {
        let mut copy = Element::bare(element.name(), element.ns());
        for ((namespace, name), value) in element.attrs() {
            copy.set_attr(namespace.clone(), name.clone(), value);
        }
        for node in element.nodes() {
            match node {
                minidom::Node::Text(text) => copy.append_text(text.as_str()),
                minidom::Node::Element(child) => drop(copy.append_child(joined(child))),
            }
        }
        copy
    }
    xso::from_bytes::<Element>(xml).ok().as_ref().map(joined)
}

#[test]
fn each_kind_is_read_as_far_as_it_is_needed() {
    assert!(matches!(read("<message xmlns='jabber:client'><body>x</body></message>"), Ok(Frame::Note(_))));
    assert!(matches!(read("<r xmlns='urn:xmpp:sm:3'/>"), Ok(Frame::Management(Management::Asks))));
    assert!(matches!(read("<a xmlns='urn:xmpp:sm:3' h='7'></a>"), Ok(Frame::Management(Management::Acknowledges(7)))));
    assert!(matches!(read("<a xmlns='urn:xmpp:sm:3'/>"), Ok(Frame::Element(_))));
    assert!(matches!(read("<message xmlns='jabber:server'/>"), Ok(Frame::Element(_))));
    assert!(matches!(read("<iq xmlns='jabber:client'/>"), Ok(Frame::Element(_))));
}

#[test]
fn what_the_stream_declares_holds_for_its_elements() {
    let declared = Declared::new(&[("", "jabber:client"), ("stream", "s"), ("x", "y")]);
    let read = |xml: &str| Frame::read(xml.as_bytes(), &declared, &Hearing::nobody());
    let Ok(Frame::Element(element)) = read("<iq><x:a x:b='1'/><stream:c xmlns=''><d/></stream:c></iq>") else {
        unreachable!()
    };
    assert!(element.is("iq", "jabber:client") && element.has_child("a", "y"));
    assert!(element.get_child("c", "s").unwrap().has_child("d", ""));
    assert!(read("<iq><z:a/></iq>").is_err());
    assert!(matches!(read("<message/>"), Ok(Frame::Note(_))));
}

#[test]
fn what_is_not_well_formed_is_refused_wherever_it_stands() {
    for bad in [
        "<b></c>",
        "<b>",
        "</b>",
        "<b:c/>",
        "<b c:d=''/>",
        "<b c='' c=''/>",
        "<b xmlns:c='x' xmlns:d='x' c:e='' d:e=''/>",
        "<b xmlns:c='x' xmlns:c='y'/>",
        "<b xmlns='x' xmlns='y'/>",
        "<b c/>",
        "<b c=d/>",
        "<b c='<'/>",
        "<b c='&'/>",
        "<b c=''d=''/>",
        "<b c='\u{1}'/>",
        "<b>\u{1}</b>",
        "<b>\u{ffff}</b>",
        "<b>]]></b>",
        "<b>&nbsp;</b>",
        "<b>&#0;</b>",
        "<b><![CDATA[\u{1}]]></b>",
        "<b><![CDATA[</b>",
        "<b><!-- --></b>",
        "<b><?c d?></b>",
        "<b><!DOCTYPE c></b>",
        "<1/>",
        "<-b/>",
        "<b:/>",
        "<:b/>",
        "<a:b:c xmlns:a='x'/>",
        "<b 1=''/>",
        "<é\u{d7}/>",
        "< b/>",
        "<b/ >",
        "<b></ b>",
        "<b></b c=''>",
    ] {
        for xml in [
            bad.to_owned(),
            format!("<iq xmlns='jabber:client'>{bad}</iq>"),
            format!("<message xmlns='jabber:client'>{bad}</message>"),
            format!("<r xmlns='urn:xmpp:sm:3'>{bad}</r>"),
        ] {
            assert!(read(&xml).is_err(), "{xml}");
        }
    }
    assert!(read("<b/><c/>").is_err() && read("<b/>x").is_err() && read("x<b/>").is_err() && read("").is_err());
    let invalid = Frame::read(b"<b>\xff</b>", &Declared::none(), &Hearing::nobody());
    assert!(invalid.is_err());
}

#[test]
fn many_attributes_may_not_repeat_either() {
    let many = |last: usize| {
        let attributes: Vec<_> = (0..40).map(|number| format!("a{number}=''")).collect();
        read(&format!("<b {} a{last}=''/>", attributes.join(" ")))
    };
    assert!(many(40).is_ok() && many(7).is_err());
}

#[test]
fn declarations_are_bounded() {
    let many = |count: usize| {
        let all: Vec<_> = (0..count).map(|number| format!("xmlns:a{number}='x'")).collect();
        read(&format!("<b {}/>", all.join(" ")))
    };
    assert!(many(256).is_ok() && many(257).is_err());
}

#[test]
fn an_event_is_read_with_what_a_service_writes() {
    let xml = format!(
        "<message xmlns='jabber:client' to='{OWN}' from='pubsub.active-calls.x.test'>\
         <event xmlns='http://jabber.org/protocol/pubsub#event'><items node='/x.test/front'><item id='T&#x31;'>\
         <c:active-call xmlns:c='onsip:active-calls' publish-time='2026-01-01T12:00:00Z'><c:dialog-state><![CDATA[created]]>\
         </c:dialog-state><c:from-display>A &amp; <i/>B</c:from-display></c:active-call></item></items></event></message>"
    );
    let Ok(Frame::Note(note)) = Frame::read(xml.as_bytes(), &Declared::none(), &hearing(ServiceKind::Calls)) else {
        unreachable!()
    };
    let [crate::protocol::notification::Part::Item { item, content, .. }] = &note.parts[..] else {
        unreachable!("{note:?}")
    };
    assert_eq!(item.as_str(), "T1");
    assert!(matches!(
        content,
        crate::protocol::notification::Content::Call(_, fields) if fields.from_display.as_deref() == Some("A & B")
    ));
    assert_eq!(note.to.unwrap().as_str(), OWN);
}

// ---- against the library ------------------------------------------------------------------------------------------

const SPACES: [&str; 9] = [
    "jabber:client",
    "http://jabber.org/protocol/pubsub#event",
    "http://jabber.org/protocol/shim",
    "onsip:active-calls",
    "onsip:user-agents",
    "urn:xmpp:delay",
    "jabber:x:delay",
    "",
    "a &amp; b",
];
const PREFIXES: [&str; 4] = ["", "p", "q.-é", "stream"];
const NAMES: [&str; 20] = [
    "event",
    "items",
    "item",
    "retract",
    "purge",
    "delete",
    "subscription",
    "headers",
    "header",
    "active-call",
    "user-agent",
    "dialog-state",
    "call-id",
    "from-display",
    "contact",
    "delay",
    "x",
    "_",
    "ünïcode",
    "a.b-c1",
];
const ATTRIBUTES: [&str; 9] =
    ["id", "node", "name", "subscription", "publish-time", "type", "subid", "xml:lang", "p:other"];

/// Text as it may be written.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9 /:@.éß😀\u{fffd}-]{0,12}",
        "[ \t\r\n]{1,4}",
        Just("&amp;&lt;&gt;&apos;&quot;".to_owned()),
        Just("&#13;&#xA;&#x1F600;&#9;".to_owned()),
        Just("Collection".to_owned()),
        Just("created".to_owned()),
        Just("\r\n]]&gt;]]".to_owned()),
    ];
    proptest::collection::vec(piece, 0..3).prop_map(|pieces| pieces.concat())
}

fn content() -> impl Strategy<Value = String> {
    // Behind a bracket in CDATA the library takes the end of a line as it is (XML 1.0 section 2.11).
    let cdata = text().prop_map(|text| {
        let text = if text.contains(']') { text.replace('\r', "") } else { text };
        format!("<![CDATA[{text}]]>")
    });
    prop_oneof![4 => text(), 1 => cdata, 1 => Just("'\"".to_owned())]
}

/// How an attribute is written: name, value, quote, space before it.
fn attribute() -> impl Strategy<Value = (usize, String)> {
    (0..ATTRIBUTES.len(), text(), any::<bool>(), prop_oneof![Just(" "), Just("\r\n\t ")]).prop_map(
        |(name, value, double, space)| {
            // The library loses a carriage return that stands alone in an attribute (XML 1.0 section 3.3.3).
            let value = value.replace("\r\n", "\n").replace('\r', "\r\n");
            let (quote, name_text) = (if double { '"' } else { '\'' }, ATTRIBUTES[name]);
            (name, format!("{space}{name_text} = {quote}{value}{quote}"))
        },
    )
}

type Head = (usize, usize, usize, Vec<(usize, String)>, bool);

fn head() -> impl Strategy<Value = Head> {
    let attributes = proptest::collection::vec(attribute(), 0..4);
    (0..NAMES.len(), 0..PREFIXES.len(), 0..SPACES.len(), attributes, any::<bool>())
}

fn tag((name, prefix, space, mut attributes, early): Head, inner: &str) -> String {
    attributes.sort_by_key(|(name, _)| *name);
    attributes.dedup_by_key(|(name, _)| *name);
    if early {
        attributes.reverse();
    }
    let attributes: String = attributes.into_iter().map(|(_, text)| text).collect();
    let (name, prefix) = (NAMES[name], PREFIXES[prefix]);
    // Of a prefix that stands for no namespace XML knows nothing.
    let space = if SPACES[space].is_empty() && !prefix.is_empty() { "none" } else { SPACES[space] };
    let (name, declaration) = if prefix.is_empty() {
        (name.to_owned(), format!(" xmlns='{space}'"))
    } else {
        (format!("{prefix}:{name}"), format!(" xmlns:{prefix}=\"{space}\""))
    };
    let head = if early { format!("{declaration}{attributes}") } else { format!("{attributes}{declaration}") };
    match inner {
        "" if early => format!("<{name}{head}/>"),
        inner => format!("<{name}{head} >{inner}</{name}\n>"),
    }
}

fn tree() -> impl Strategy<Value = String> {
    let leaf = (head(), content()).prop_map(|(head, text)| tag(head, &text));
    leaf.prop_recursive(6, 40, 5, |inner| {
        (head(), proptest::collection::vec((content(), inner), 0..5)).prop_map(|(head, children)| {
            let inner: String = children.into_iter().flat_map(|(text, child)| [text, child]).collect();
            tag(head, &inner)
        })
    })
}

/// A stanza of what a service sends, with anything in it.
fn stanza() -> impl Strategy<Value = String> {
    let event = (proptest::collection::vec(tree(), 0..3), proptest::collection::vec(tree(), 0..3)).prop_map(
        |(before, items)| {
            let good = "<item id='good'><active-call xmlns='onsip:active-calls'><dialog-state>created</dialog-state>\
                        <call-id>1</call-id></active-call></item>";
            format!(
                "{}<event xmlns='http://jabber.org/protocol/pubsub#event'>{}<items node='/b/a'>{}{good}</items></event>",
                before.concat(),
                items.concat(),
                items.concat()
            )
        },
    );
    (prop_oneof!["message", "iq", "presence"], prop_oneof![event, tree()]).prop_map(|(name, inner)| {
        format!(
            "<{name} xmlns='jabber:client' xmlns:p='urn:p' to='{OWN}' from='pubsub.active-calls.x.test'>{inner}</{name}>"
        )
    })
}

properties! {
    cases: 256;

    #[test]
    fn well_formed_elements_are_read_as_the_library_reads_them(xml in stanza()) {
        let ours = whole(&xml);
        prop_assert_eq!(ours.ok(), library(xml.as_bytes()), "{}", xml);
    }

    #[test]
    fn a_message_says_the_same_however_it_is_held(xml in stanza()) {
        let Some(element) = library(xml.as_bytes()) else { return Err(TestCaseError::reject("not well-formed")) };
        for kind in [ServiceKind::Calls, ServiceKind::Registrations, ServiceKind::Items] {
            let hearing = hearing(kind);
            let from = xml.replace("pubsub.active-calls.x.test", hearing_name(kind));
            let frame = Frame::read(from.as_bytes(), &Declared::none(), &hearing);
            if element.name() == "message" {
                let expected = Notification::read(&library(from.as_bytes()).unwrap(), |from| hearing.kind_of(from));
                let Ok(Frame::Note(note)) = frame else { return Err(TestCaseError::fail("no message")) };
                prop_assert_eq!(note, expected, "{}", xml);
            } else {
                prop_assert!(matches!(frame, Ok(Frame::Element(_))));
            }
        }
    }

    /// Broken in one place: what the library refuses, we refuse, and what it reads, we read the same.
    #[test]
    fn broken_elements_are_judged_as_the_library_does(
        xml in stanza(),
        at in any::<prop::sample::Index>(),
        with in prop_oneof!["[<>&'\"/=:;!? \\[\\]a1-]{0,3}", "[\u{0}\u{1}\u{ffff}é]", Just("<!-- -->".to_owned()), Just("]]>".to_owned())],
        cut in 0..4_usize,
    ) {
        let mut bytes = xml.into_bytes();
        let at = at.index(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, with.bytes());
        let theirs = library(&bytes);
        let ours = std::str::from_utf8(&bytes).map_err(|_| NotXmpp).and_then(whole);
        // Theirs lets a default namespace be declared twice, and has its own mind of some carriage returns.
        let text = String::from_utf8_lossy(&bytes);
        let twice = text.replace("\r\n", "").contains('\r') || text.contains("]\r") || ours.is_err() && String::from_utf8_lossy(&bytes).split('>').any(|tag| tag.matches(" xmlns").count() > 1 || tag.matches("\nxmlns").count() > 0);
        if !twice {
            prop_assert_eq!(ours.ok(), theirs, "{}", String::from_utf8_lossy(&bytes));
        }
    }
}

fn hearing_name(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Calls => "pubsub.active-calls.x.test",
        ServiceKind::Registrations => "pubsub.user-agents.x.test",
        ServiceKind::Items => "pubsub.voicemail.x.test",
    }
}

#[test]
fn c2_a_tree_that_would_take_many_times_its_size_is_oversize_and_not_bad_xml() {
    let oversize = |xml: &str| matches!(read(xml), Ok(Frame::Oversize { stanza: true }));
    let iq = |inner: &str| format!("<iq xmlns='jabber:client' type='result'>{inner}</iq>");
    let namespace = |length: usize| iq(&format!("<p xmlns:x='{}'><x:a/><x:a/></p>", "u".repeat(length)));
    assert!(!oversize(&namespace(256)) && oversize(&namespace(257)));
    assert!(oversize(&iq(&format!("<p xmlns='{}'/>", "u".repeat(300)))));
    assert!(!oversize(&iq(&"<a/>".repeat(8_191))) && oversize(&iq(&"<a/>".repeat(8_192))));
    let attributes =
        |count: usize| iq(&format!("<p {}/>", (0..count).map(|n| format!("a{n}='' ")).collect::<Vec<_>>().concat()));
    assert!(!oversize(&attributes(128)) && oversize(&attributes(129)));
    let message = format!("<message xmlns='jabber:client'>{}</message>", "<a/>".repeat(20_000));
    assert!(matches!(read(&message), Ok(Frame::Note(_))), "what is passed over costs nothing");
}
