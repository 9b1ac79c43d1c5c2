//! The reading of messages: any element is read without a panic, as a tree or from the stream with the same result, and
//! what comes out of it is bounded and in proportion.

use std::sync::LazyLock;

use minidom::Element;
use onsip_router::domain::FullJid;
use onsip_router::domain::service::Service;
use onsip_router::protocol::hearing::Hearing;
use onsip_router::protocol::notification::Notification;
use onsip_router::xmpp::messages;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

static HEARING: LazyLock<Hearing> = LazyLock::new(|| {
    let services = ["active-calls", "voicemail"].map(|name| Service::new(name, "xmpp.onsip.test").unwrap());
    Hearing::new(FullJid::new("anna@acme.test/onsip-router").unwrap(), services.into())
});

/// Pieces of messages.
pub const WORDS: &[&str] = &[
    "<message from='pubsub.active-calls.xmpp.onsip.test' to='anna@acme.test/onsip-router'>",
    "<message from='pubsub.voicemail.xmpp.onsip.test'>",
    "</message>",
    "<event xmlns='http://jabber.org/protocol/pubsub#event'>",
    "</event>",
    "<items node='/acme.test/anna'>",
    "</items>",
    "<item id='1'>",
    "</item>",
    "<item/>",
    "<retract id='1'/>",
    "<purge node='/acme.test/anna'/>",
    "<delete node='/acme.test/anna'/>",
    "<subscription node='n' jid='anna@acme.test' subid='s' subscription='none'/>",
    "<headers xmlns='http://jabber.org/protocol/shim'>",
    "<header name='Collection'>/me/anna</header>",
    "<header name='SubID'>s1</header>",
    "</headers>",
    "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>",
    "<active-call xmlns='onsip:active-calls' publish-time='2009-11-23T19:28:22Z'>",
    "</active-call>",
    "<dialog-state>confirmed</dialog-state>",
    "<call-id>c</call-id>",
    "<from-uri>",
    "</from-uri>",
    "<branch>",
    "<address>sip:anna@acme.test</address>",
    "<call-setup-id>",
    "&#9;",
    "é",
    "id=''",
    "node=''",
    " ",
    "\n",
    "<![CDATA[x]]>",
];

pub fn run(input: &[u8]) {
    let document = [HEADER.as_bytes(), input].concat();
    let Some(notes) = messages(&document, &HEARING) else { return };
    for note in &notes {
        let made = note.output();
        assert!(made <= 128 * input.len() + 4096, "{made} bytes come out of {}", input.len());
    }
    let [note] = &notes[..] else { return };
    let whole = [HEADER.as_bytes(), input, b"</stream:stream>"].concat();
    let Ok(root) = Element::from_reader(&whole[..]) else { return };
    let mut messages = root.children().filter(|child| child.is("message", "jabber:client"));
    if let (Some(message), None) = (messages.next(), messages.next()) {
        assert_eq!(&Notification::read(message, |from| HEARING.kind_of(from)), note, "as a tree and from the stream");
    }
}
