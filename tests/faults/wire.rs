//! The faults of a faults file, byte by byte: each happens as it is described.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use onsip_router::domain::BareJid;
use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{Faults, Request, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::condition::SOON;
use crate::support::stage::*;

/// One connection of an account, and all it heard.
struct Wire {
    tcp: TcpStream,
    jid: BareJid,
    heard: String,
    asked: u32,
}

impl Wire {
    /// Logged in with presence as [`RESOURCE`], and authorized.
    async fn online(onsip: &Simulator, jid: &BareJid) -> Self {
        let (user, domain) = (jid.node().unwrap(), jid.domain());
        let proof = BASE64_STANDARD.encode(format!("\0{user}\0{PASSWORD}"));
        let open = format!(
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client' to='{domain}'>"
        );
        let mut wire = Self {
            tcp: TcpStream::connect(onsip.addr()).await.unwrap(),
            jid: jid.clone(),
            heard: String::new(),
            asked: 0,
        };
        wire.say(&format!(
            "{open}<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{proof}</auth>{open}\
             <iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{RESOURCE}</resource></bind></iq>\
             <presence><priority>1</priority></presence>"
        ))
        .await;
        wire.hears("<jid>").await;
        let field = |name: &str, value: &str| format!("<field var='{name}'><value>{value}</value></field>");
        let form = field("sip-address", jid.as_str()) + &field("password", PASSWORD);
        let command = format!(
            "<command xmlns='http://jabber.org/protocol/commands' node='authorize-plain'>\
             <x xmlns='jabber:x:data' type='submit'>{form}</x></command>"
        );
        let granted = wire.asks("set", "commands.auth.xmpp.onsip.test", &command).await;
        assert!(granted.contains("expires"), "{granted}");
        wire
    }

    /// The same, with an approved subscription.
    async fn subscribed(onsip: &Simulator, jid: &BareJid) -> Self {
        let mut wire = Self::online(onsip, jid).await;
        wire.subscribes(&node(jid)).await;
        wire.hears("subscription=\"subscribed\"").await;
        wire
    }

    async fn say(&mut self, text: &str) {
        self.tcp.write_all(text.as_bytes()).await.unwrap();
    }

    async fn read(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(SOON, self.tcp.read(&mut bytes)).await;
        let count = read.unwrap_or_else(|_| panic!("nothing more came after {}", self.heard)).unwrap_or(0);
        self.heard.push_str(&String::from_utf8_lossy(&bytes[..count]).replace('\'', "\""));
        count
    }

    /// Waits for these words, and returns all that was heard so far.
    async fn hears(&mut self, words: &str) -> String {
        while !self.heard.contains(words) {
            assert!(self.read().await > 0, "the end came before {words}: {}", self.heard);
        }
        self.heard.clone()
    }

    /// Sends an IQ and returns what came from then on until its answer.
    async fn asks(&mut self, kind: &str, to: &str, payload: &str) -> String {
        self.asked += 1;
        let (id, before) = (format!("wire-{}", self.asked), self.heard.len());
        self.say(&format!("<iq xmlns='jabber:client' type='{kind}' id='{id}' to='{to}'>{payload}</iq>")).await;
        self.hears(&format!("id=\"{id}\"")).await;
        while !self.heard[before..].contains("</iq>") && !self.heard.ends_with("/>") {
            self.read().await;
        }
        self.heard[before..].to_owned()
    }

    async fn pubsub(&mut self, kind: &str, request: &str) -> String {
        let payload = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{request}</pubsub>");
        self.asks(kind, CALLS, &payload).await
    }

    async fn subscribes(&mut self, node: &str) -> String {
        let request = format!("<subscribe node='{node}' jid='{}/{RESOURCE}'/>", self.jid);
        self.pubsub("set", &request).await
    }

    async fn lists(&mut self) -> String {
        let request = format!("<subscriptions node='{}'/>", node(&self.jid));
        self.pubsub("get", &request).await
    }

    async fn pings(&mut self) -> String {
        self.asks("get", "acme.test", "<ping xmlns='urn:xmpp:ping'/>").await
    }

    /// All that was heard until the other side closed.
    async fn ends(mut self) -> String {
        while self.read().await > 0 {}
        self.heard
    }
}

fn faults(text: &str) -> Faults {
    Faults::from_toml(text).unwrap()
}

/// What an account with a subscription hears until the connection ends, under these faults.
async fn end_under(text: &str) -> (Simulator, String) {
    let (onsip, anna) = service_with_anna().await;
    let wire = Wire::subscribed(&onsip, &anna).await;
    onsip.run_faults(&faults(text));
    let heard = wire.ends().await;
    (onsip, heard)
}

/// An account with a subscription under these faults.
async fn subscribed_under(text: &str) -> (Simulator, BareJid, Wire) {
    let (onsip, anna) = service_with_anna().await;
    let wire = Wire::subscribed(&onsip, &anna).await;
    onsip.run_faults(&faults(text));
    (onsip, anna, wire)
}

#[tokio::test]
async fn an_approval_can_stay_away_for_ever_or_be_a_denial() {
    for (text, said) in [("approval_silence = 1.0", None), ("denied = 1.0", Some("none")), ("", Some("subscribed"))] {
        let (onsip, anna) = service_with_anna().await;
        onsip.run_faults(&faults(&format!("approval_after = \"1ms\"\n{text}")));
        let mut wire = Wire::online(&onsip, &anna).await;
        assert!(wire.subscribes(&node(&anna)).await.contains("subscription=\"pending\""));
        if let Some(state) = said {
            wire.hears(&format!("subscription=\"{state}\"")).await;
            continue;
        }
        // A later request is decided on, and this one still is not.
        onsip.run_faults(&faults("approval_after = \"1ms\""));
        wire.subscribes(&leaf(&anna)).await;
        wire.hears("subscription=\"subscribed\"").await;
        assert!(wire.lists().await.contains("pending"));
    }
}

#[tokio::test]
async fn a_subscription_can_be_revoked_or_expire_and_an_authorization_end_in_silence() {
    let (_onsip, _, mut wire) = subscribed_under("revoke_every = \"50ms\"").await;
    wire.hears("subscription=\"none\"").await;

    let (onsip, _, mut wire) = subscribed_under("lease_end_every = \"50ms\"").await;
    assert!(onsip.until(SOON, |board| board.delivering(Moment::now()) == 0).await);
    let listed = wire.lists().await;
    assert!(listed.contains("subscription=\"subscribed\"") && !listed.contains("none"), "{listed}");

    let (onsip, anna, mut wire) = subscribed_under("authorization_end_every = \"50ms\"").await;
    assert!(onsip.until(SOON, |board| board.authorized_until(&anna, Moment::now()).is_none()).await);
    onsip.call_in(anna.as_str(), CALLER, 1);
    let pong = wire.pings().await;
    assert!(!pong.contains("active-call"), "{pong}");
}

#[tokio::test]
async fn the_cap_can_be_lower_and_be_reached_by_entries_of_our_own() {
    let (_onsip, anna, mut wire) = subscribed_under("subscription_limit = 1").await;
    assert!(wire.subscribes(&node(&anna)).await.contains("too-many-subscriptions"));

    let (onsip, anna, mut wire) = subscribed_under("surplus_every = \"50ms\"").await;
    assert!(onsip.until(SOON, |board| board.subscriptions(&anna, None).len() == 10).await);
    let listed = wire.lists().await;
    assert_eq!(listed.matches(&format!("jid=\"{anna}/{RESOURCE}\"")).count(), 10, "{listed}");
    assert!(wire.subscribes(&node(&anna)).await.contains("too-many-subscriptions"));
}

/// Follows redirects from the collection of an account, at most seven; where they led.
async fn redirected(text: &str) -> Vec<String> {
    let (onsip, anna) = service_with_anna().await;
    onsip.run_faults(&faults(text));
    let mut wire = Wire::online(&onsip, &anna).await;
    let mut visited = vec![node(&anna)];
    while visited.len() < 8 {
        let answer = wire.subscribes(visited.last().unwrap()).await;
        let Some((_, target)) = answer.split_once("?;node=") else { break };
        assert!(answer.contains("<redirect"), "{answer}");
        visited.push(target.split('<').next().unwrap().to_owned());
    }
    visited
}

#[tokio::test]
async fn redirects_can_be_a_chain_or_a_loop() {
    assert_eq!(redirected("").await, ["/me/anna@acme.test"]);
    let chain = redirected("redirect_hops = 3").await;
    let steps =
        ["/me/anna@acme.test", "/moved/1/anna@acme.test", "/moved/2/anna@acme.test", "/me/anna@acme.test/acme.test"];
    assert_eq!(chain, steps);
    assert_eq!(redirected("redirect_hops = 1").await.len(), 2);
    let circle = redirected("redirect_hops = 2\nredirect_loop = true").await;
    assert!(circle.len() == 8 && circle[2] == circle[0], "{circle:?}");
}

#[tokio::test]
async fn a_stream_can_end_with_an_error_that_says_why() {
    for (key, condition) in [("conflict", "<conflict"), ("shutdown", "<system-shutdown")] {
        let (_, heard) = end_under(&format!("{key}_every = \"50ms\"")).await;
        assert!(heard.contains(condition) && heard.ends_with("</stream:stream>"), "{heard}");
    }
    let (onsip, heard) = end_under("see_other_host_every = \"50ms\"").await;
    assert!(heard.contains(&format!(">{}</see-other-host>", onsip.addr())), "{heard}");
    let (_, heard) = end_under("see_other_host_every = \"50ms\"\nother_host = \"other.test:5223\"").await;
    assert!(heard.contains(">other.test:5223</see-other-host>"), "{heard}");
}

#[tokio::test]
async fn a_connection_can_break_without_a_word_or_in_the_middle_of_one() {
    let (_, heard) = end_under("cut_every = \"50ms\"").await;
    assert!(heard.ends_with('>') && !heard.contains("</stream:stream>"), "{heard}");
    let (_, heard) = end_under("half_stanza_every = \"50ms\"").await;
    let (_, last) = heard.rsplit_once("<message").unwrap();
    assert!(!last.contains("</message>") && last.contains("from="), "{heard}");
}

#[tokio::test]
async fn a_link_can_be_half_dead_in_both_forms() {
    let (onsip, anna, mut wire) = subscribed_under("deafness_every = \"50ms\"").await;
    // A ping is answered whatever the link does; an event gets through until it is deaf.
    let deaf = async {
        loop {
            let before = onsip.observed().delivered;
            onsip.call_in(anna.as_str(), CALLER, 1);
            assert!(wire.pings().await.contains("type=\"result\""));
            if onsip.observed().delivered == before {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, deaf).await.unwrap();

    let (onsip, anna, mut wire) = subscribed_under("stall_every = \"50ms\"").await;
    let silent = async {
        loop {
            let before = asked(&onsip, &anna, Request::Ping);
            wire.say("<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>").await;
            if !onsip
                .until(Duration::from_millis(500), |board| board.observed().count(&anna, Request::Ping) > before)
                .await
            {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, silent).await.unwrap();
    assert_eq!(onsip.connections(), 1, "it is still open");
}

#[tokio::test]
async fn a_notification_can_come_twice_late_or_behind_a_stranger() {
    let (onsip, anna, mut wire) = subscribed_under("duplicated = 1.0").await;
    let call = onsip.call_in(anna.as_str(), CALLER, 1);
    let heard = wire.pings().await;
    assert_eq!(heard.matches(call.call_id()).count(), 2, "{heard}");

    let (onsip, anna, mut wire) = subscribed_under("held_back = 1.0\nheld_back_for = \"300ms\"").await;
    let call = onsip.call_in(anna.as_str(), CALLER, 1);
    let heard = wire.pings().await;
    assert!(!heard.contains(call.call_id()), "{heard}");
    wire.hears(call.call_id()).await;

    let (onsip, anna, mut wire) = subscribed_under("crowded = 1.0").await;
    onsip.call_in(anna.as_str(), CALLER, 1);
    let heard = wire.pings().await;
    let (retract, item) = (heard.find("<retract").unwrap(), heard.find("<item ").unwrap());
    assert!(retract < item, "{heard}");
}

#[tokio::test]
async fn headers_can_come_first_last_or_not_at_all() {
    for (place, before, after) in [("first", true, false), ("last", false, true), ("absent", false, false)] {
        let (onsip, anna, mut wire) = subscribed_under(&format!("headers = \"{place}\"")).await;
        let from = wire.heard.len();
        onsip.call_in(anna.as_str(), CALLER, 1);
        let heard = wire.pings().await;
        let (_, message) = heard.split_once("<message").unwrap_or_else(|| panic!("{place}: {heard} after {from}"));
        let (front, back) = message.split_once("</event>").unwrap();
        let front = front.split_once("<event").unwrap().0;
        assert_eq!((front.contains("<headers"), back.contains("<headers")), (before, after), "{message}");
    }
}

#[tokio::test]
async fn many_calls_can_come_in_one_message_or_in_a_flood_of_them() {
    let (_onsip, _, mut wire) = subscribed_under("many_items_every = \"50ms\"\nmany_items = 7").await;
    let heard = wire.hears("<retract").await;
    let message = heard.rsplit_once("<items").unwrap().0.rsplit_once("<items").unwrap().1;
    assert_eq!(message.matches("<item ").count(), 7, "{message}");

    let (onsip, _, mut wire) = subscribed_under("flood_every = \"50ms\"\nflood_calls = 40").await;
    assert!(onsip.until(SOON, |board| board.observed().delivered >= 80).await);
    let heard = wire.pings().await;
    assert!(heard.matches("<message").count() >= 80, "{}", heard.len());
}

#[tokio::test]
async fn what_arrives_can_be_for_another_from_a_stranger_malformed_or_no_xml() {
    for (key, words) in [
        ("foreign_resource", "to=\"anna@acme.test/elsewhere\""),
        ("foreign_sender", "from=\"pubsub.active-calls.evil.test\""),
        ("malformed", "<dialog-state>musing</dialog-state>"),
        ("bad_xml", "<body>&nbsp;</message>"),
    ] {
        let (_onsip, _, mut wire) = subscribed_under(&format!("{key}_every = \"50ms\"")).await;
        wire.hears(words).await;
    }
}

#[tokio::test]
async fn the_service_can_restart_and_keep_what_it_knows() {
    let (onsip, heard) = end_under("restart_every = \"50ms\"\nrestart_for = \"1ms\"").await;
    assert!(!heard.contains("</stream:stream>"), "{heard}");
    let anna = BareJid::new("anna@acme.test").unwrap();
    assert_eq!(onsip.subscriptions(&anna, &node(&anna)).len(), 1);
    let again = async { while TcpStream::connect(onsip.addr()).await.is_err() {} };
    tokio::time::timeout(SOON, again).await.unwrap();
}

#[tokio::test]
async fn an_answer_can_be_held_back() {
    let (onsip, anna, mut wire) = subscribed_under("reply_after = \"300ms\"").await;
    let call = onsip.call_in(anna.as_str(), CALLER, 1);
    let heard = wire.lists().await;
    assert!(heard.contains(call.call_id()), "the event overtakes the answer: {heard}");
}
