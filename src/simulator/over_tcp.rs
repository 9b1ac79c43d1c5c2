//! The service over real TCP, against the lower layer of an independent client library.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use minidom::Element;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio_xmpp::error::{AuthError, Error};
use tokio_xmpp::xmlstream::{
    FallibleStreamElement, ReadError, StreamHeader, Timeouts, XmppStream, XmppStreamElement, initiate_stream,
};
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::iq::Iq;
use xmpp_parsers::ns;
use xmpp_parsers::sasl::DefinedCondition;

use super::*;
use crate::domain::BareJid;

/// What takes longer hangs.
const SOON: Duration = Duration::from_mins(1);
const NODE: &str = "/me/anna@acme.test";
const CALLS: &str = "pubsub.active-calls.xmpp.onsip.test";

/// A whole log-in in one go.
const HASTE: &str = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client' to='acme.test'>\
    <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFubmEAc2VjcmV0</auth>\
    <stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client' to='acme.test'>\
    <iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><presence/>";

struct Client(XmppStream<BufStream<TcpStream>>);

impl Client {
    async fn log_in(onsip: &Simulator, resource: &str, password: &str) -> Result<Self, Error> {
        let header = || StreamHeader { to: Some(Cow::Borrowed("acme.test")), from: None, id: None };
        let tcp = BufStream::new(TcpStream::connect(onsip.addr()).await?);
        let pending = initiate_stream(tcp, ns::JABBER_CLIENT, header(), Timeouts::default()).await?;
        let (features, stream) = pending.recv_features::<FallibleStreamElement>().await?;
        let credentials = sasl_credentials("anna", password);
        let stream = tokio_xmpp::client_login(stream, features.sasl_mechanisms, credentials).await?;
        let (features, stream) = stream.send_header(header()).await?.recv_features().await?;
        assert!(features.can_bind());
        let mut client = Self(stream);
        let reply = client.ask(Iq::from_set("bind", BindQuery::new(Some(resource.to_owned())))).await;
        let bound = BindResponse::try_from(reply.unwrap()).unwrap();
        assert_eq!(bound.jid.as_str(), format!("anna@acme.test/{resource}"));
        client.send("<presence xmlns='jabber:client'><priority>1</priority></presence>").await;
        Ok(client)
    }

    async fn ask(&mut self, iq: Iq) -> Result<Element, Element> {
        let element: Element = iq.into();
        let reply = self.ask_xml(&String::from(&element)).await;
        match reply.attr("type") {
            Some("result") => Ok(reply.children().next().cloned().unwrap_or(reply)),
            _ => Err(reply),
        }
    }

    async fn ask_xml(&mut self, xml: &str) -> Element {
        self.send(xml).await;
        self.next().await
    }

    async fn send(&mut self, xml: &str) {
        let element: Element = xml.parse().unwrap();
        self.0.send(&element).await.unwrap();
    }

    async fn read(&mut self) -> Result<XmppStreamElement, ReadError> {
        let next = tokio::time::timeout(SOON, self.0.next()).await.expect("in time").expect("not the end");
        next.and_then(FallibleStreamElement::into_read_error)
    }

    async fn next(&mut self) -> Element {
        match self.read().await.unwrap() {
            XmppStreamElement::Stanza(tokio_xmpp::Stanza::Iq(iq)) => iq.into(),
            XmppStreamElement::Stanza(tokio_xmpp::Stanza::Message(message)) => message.into(),
            other => unreachable!("no stanza: {other:?}"),
        }
    }

    async fn authorize(&mut self) -> Element {
        let field = |name: &str, value: &str| format!("<field var='{name}'><value>{value}</value></field>");
        self.ask_xml(&format!(
            "<iq xmlns='jabber:client' type='set' id='a' to='commands.auth.xmpp.onsip.test'>\
             <command xmlns='http://jabber.org/protocol/commands' node='authorize-plain'>\
             <x xmlns='jabber:x:data' type='submit'>{}{}{}</x></command></iq>",
            field("sip-address", "anna@acme.test"),
            field("password", "secret"),
            field("auth-for-all", "true"),
        ))
        .await
    }

    async fn pubsub(&mut self, kind: &str, request: &str) -> Element {
        self.ask_xml(&format!(
            "<iq xmlns='jabber:client' type='{kind}' id='p' to='{CALLS}'>\
             <pubsub xmlns='http://jabber.org/protocol/pubsub'>{request}</pubsub></iq>"
        ))
        .await
    }

    async fn subscribe(&mut self, resource: &str) -> Element {
        self.pubsub("set", &format!("<subscribe node='{NODE}' jid='anna@acme.test/{resource}'/>")).await
    }
}

fn sasl_credentials(user: &str, password: &str) -> sasl::common::Credentials {
    sasl::common::Credentials::default().with_username(user).with_password(password)
}

async fn with_anna() -> (Simulator, BareJid) {
    let onsip = Simulator::start(Options::default()).await.unwrap();
    let anna = onsip.account("anna@acme.test", "secret").unwrap();
    (onsip, anna)
}

fn has(element: &Element, text: &str) -> bool {
    String::from(element).contains(text)
}

#[tokio::test]
async fn a_client_logs_in_authorizes_subscribes_and_gets_the_events() {
    let (onsip, anna) = with_anna().await;
    onsip.add(Account::new("anna@acme.test", "secret").unwrap().owning("sales@acme.test"));
    let mut client = Client::log_in(&onsip, "router", "secret").await.unwrap();
    let granted = client.authorize().await;
    assert!(has(&granted, "sales@acme.test") && has(&granted, "expires"), "{granted:?}");
    let pending = client.subscribe("router").await;
    assert!(has(&pending, "pending") && !has(&pending, "subid"), "{pending:?}");
    assert!(has(&client.next().await, "subscribed"));
    let listed = client.pubsub("get", &format!("<subscriptions node='{NODE}'/>")).await;
    let subid = &onsip.subscriptions(&anna, NODE)[0].subid;
    assert!(has(&listed, subid) && !has(&listed, "node="), "{listed:?}");

    let mut call = onsip.call_in("sales@acme.test", "sip:+12125550111@carrier.test", 1);
    onsip.answer(&mut call, 0);
    onsip.hang_up(&mut call);
    for text in ["requested", "confirmed", "retract"] {
        let event = client.next().await;
        assert_eq!(event.attr("to"), Some("anna@acme.test/router"));
        assert!(has(&event, text) && has(&event, &call.legs[0].item_id) && has(&event, "Collection"), "{event:?}");
    }
    assert_eq!(onsip.observed().delivered, 3);
}

#[tokio::test]
async fn a_wrong_password_is_not_authorized() {
    let (onsip, anna) = with_anna().await;
    let refused = Client::log_in(&onsip, "router", "wrong").await.err();
    assert!(matches!(refused, Some(Error::Auth(AuthError::Fail(DefinedCondition::NotAuthorized)))), "{refused:?}");
    assert_eq!(onsip.observed().count(&anna, Request::Login), 1);
}

#[tokio::test]
async fn scram_proves_the_password_without_sending_it() {
    for mechanism in [Mechanism::ScramSha1, Mechanism::ScramSha256] {
        let options = Options { mechanisms: vec![mechanism], ..Options::default() };
        let onsip = Simulator::start(options).await.unwrap();
        onsip.account("anna@acme.test", "secret").unwrap();
        assert!(Client::log_in(&onsip, "router", "secret").await.is_ok());
        let refused = Client::log_in(&onsip, "router", "wrong").await.err();
        assert!(matches!(refused, Some(Error::Auth(AuthError::Fail(DefinedCondition::NotAuthorized)))), "{refused:?}");
    }
}

#[tokio::test]
async fn traffic_and_trouble_leave_the_service_working() {
    let (onsip, anna) = with_anna().await;
    let text = "cut_every = '20ms'\nrevoke_every = '30ms'\nrestart_every = '200ms'\nrestart_for = '10ms'\n\
        bad_xml_every = '50ms'\nconflict_every = '40ms'\nduplicated = 0.2\nheld_back = 0.2\nheld_back_for = '5ms'";
    onsip.run_faults(&Faults::from_toml(text).unwrap());
    let traffic = onsip.run_traffic(Traffic::new(vec!["anna@acme.test".to_owned()], 6000.0));
    let much = |observed: &Observed| observed.published > 20 && observed.count(&anna, Request::Bind) > 5;
    let plenty = async {
        while !onsip.look(|board| much(board.observed())) {
            if let Ok(mut client) = TcpStream::connect(onsip.addr()).await {
                let _ = client.write_all(HASTE.as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    assert!(tokio::time::timeout(SOON, plenty).await.is_ok(), "{:?}", onsip.observed());
    traffic.end();
    assert!(onsip.until(SOON, |board| board.live_items("active-calls", "/acme.test/anna").is_empty()).await);
}

#[tokio::test]
async fn the_same_resource_twice_throws_the_first_one_out() {
    let (onsip, anna) = with_anna().await;
    let mut first = Client::log_in(&onsip, "router", "secret").await.unwrap();
    let _second = Client::log_in(&onsip, "router", "secret").await.unwrap();
    let end = first.read().await.unwrap();
    assert!(matches!(end, XmppStreamElement::StreamError(error) if format!("{error:?}").contains("Conflict")));
    assert!(matches!(first.read().await, Err(ReadError::StreamFooterReceived)));
    assert_eq!(onsip.look(|board| board.resources(&anna)), ["router"]);
}

#[tokio::test]
async fn what_was_subscribed_survives_a_restart() {
    let (onsip, anna) = with_anna().await;
    let mut client = Client::log_in(&onsip, "router", "secret").await.unwrap();
    client.authorize().await;
    client.subscribe("router").await;
    assert!(onsip.until_subscribed(&anna, NODE, SOON).await);
    onsip.restart(Duration::from_millis(50)).await;
    assert!(onsip.until(SOON, |board| board.connections() == 0).await);
    let mut client = loop {
        match Client::log_in(&onsip, "router", "secret").await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(onsip.until_online(&anna, SOON).await);
    onsip.call_out("anna@acme.test", "sip:+12125550111@carrier.test");
    assert!(has(&client.next().await, "created"));
}

#[tokio::test]
async fn a_dead_link_takes_bytes_and_a_cut_one_ends() {
    let (onsip, anna) = with_anna().await;
    let mut client = Client::log_in(&onsip, "router", "secret").await.unwrap();
    assert!(onsip.until_online(&anna, SOON).await);
    onsip.stall(&anna, Stall::Dead);
    client.send("<iq xmlns='jabber:client' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    onsip.cut(&anna);
    assert!(onsip.until(SOON, |board| board.connections() == 0).await);
    assert!(client.read().await.is_err(), "nothing came before the end");
}

#[tokio::test]
async fn a_reader_that_stalls_is_dropped_and_disturbs_nobody() {
    let onsip = Simulator::start(Options { queue: 8, ..Options::default() }).await.unwrap();
    let anna = onsip.account("anna@acme.test", "secret").unwrap();
    let client = Client::log_in(&onsip, "router", "secret").await.unwrap();
    assert!(onsip.until_online(&anna, SOON).await);
    let large = "x".repeat(1 << 20);
    for _ in 0..64 {
        onsip.inject(&anna, &large);
        tokio::task::yield_now().await;
    }
    assert!(onsip.until(SOON, |board| board.observed().overflows == 1 && board.connections() == 0).await);
    drop(client);
}

#[tokio::test]
async fn a_service_that_is_down_refuses_and_a_mute_one_says_nothing() {
    let (onsip, _) = with_anna().await;
    onsip.go_down();
    while TcpStream::connect(onsip.addr()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    onsip.mute(true);
    onsip.come_up();
    let mut tcp = loop {
        match TcpStream::connect(onsip.addr()).await {
            Ok(tcp) => break tcp,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    tcp.write_all(HASTE.as_bytes()).await.unwrap();
    assert!(onsip.until(SOON, |board| board.observed().connection_times.len() == 1).await);
    onsip.mute(false);
    let mut later = TcpStream::connect(onsip.addr()).await.unwrap();
    later.write_all(HASTE.as_bytes()).await.unwrap();
    until_text(&mut later, "<stream:features").await;
    let silence = tcp.try_read(&mut [0; 16]);
    assert!(silence.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock), "{silence:?}");
}

#[tokio::test]
async fn bad_xml_ends_the_stream() {
    let (onsip, _) = with_anna().await;
    let mut tcp = TcpStream::connect(onsip.addr()).await.unwrap();
    tcp.write_all(b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' to='acme.test'><a></b>")
        .await
        .unwrap();
    let mut text = String::new();
    tokio::time::timeout(SOON, tcp.read_to_string(&mut text)).await.unwrap().unwrap();
    assert!(text.contains("not-well-formed") && text.ends_with("</stream:stream>"), "{text}");
}

#[tokio::test]
async fn tls_is_demanded_before_a_log_in_where_it_is_set() {
    let key = rcgen::generate_simple_self_signed(["acme.test".to_owned()]).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let options = Options { tls: Tls::Starttls(Arc::new(config)), ..Options::default() };
    let onsip = Simulator::start(options).await.unwrap();
    let mut tcp = TcpStream::connect(onsip.addr()).await.unwrap();
    tcp.write_all(b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' to='acme.test'>").await.unwrap();
    until_text(&mut tcp, "</stream:features>").await;
    tcp.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await.unwrap();
    until_text(&mut tcp, "<proceed").await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut tls = connector.connect("acme.test".try_into().unwrap(), tcp).await.unwrap();
    tls.write_all(b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' to='acme.test'>").await.unwrap();
    until_text(&mut tls, "<mechanism>PLAIN</mechanism>").await;
}

async fn until_text(stream: &mut (impl tokio::io::AsyncRead + Unpin), wanted: &str) {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut bytes = [0; 1024];
        let count = tokio::time::timeout(SOON, stream.read(&mut bytes)).await.unwrap().unwrap();
        assert_ne!(count, 0, "{text}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
}

#[tokio::test]
async fn a_blast_comes_whole_and_in_order_with_answers_in_between() {
    let (onsip, _) = with_anna().await;
    assert_eq!(onsip.aim().err(), Some(Unfit::Nobody));
    let mut client = Client::log_in(&onsip, "router", "secret").await.unwrap();
    client.authorize().await;
    client.subscribe("router").await;
    assert!(has(&client.next().await, "subscribed"));
    let (first, legs) = (7, 20_000);
    let blast = onsip.aim().unwrap();
    let sizes = blast.sizes(first, legs).map(|bytes| bytes / legs);
    assert!(sizes[1] > 750 && sizes[2] < 500, "{sizes:?} bytes each");
    blast.fire(first, legs);
    client.send("<iq xmlns='jabber:client' type='get' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    let (mut steps, mut answered) = (vec![0; usize::try_from(legs).unwrap()], None);
    for at in 0..=legs * EVENTS_PER_LEG {
        let stanza = client.next().await;
        if stanza.name() == "iq" {
            answered = Some(at);
            continue;
        }
        let (leg, step) = event(&stanza);
        let known = &mut steps[usize::try_from(leg - first).unwrap()];
        assert_eq!(*known, step, "{stanza:?}");
        *known += 1;
    }
    assert!(answered.is_some_and(|at| at < legs * EVENTS_PER_LEG), "the ping waited for the end of the blast");
    assert!(steps.iter().all(|steps| u64::from(*steps) == EVENTS_PER_LEG));
}

#[tokio::test]
async fn paced_events_come_at_their_rate() {
    let (onsip, _) = with_anna().await;
    let mut client = Client::log_in(&onsip, "router", "secret").await.unwrap();
    client.authorize().await;
    client.subscribe("router").await;
    client.next().await;
    let blast = onsip.aim().unwrap();
    let (times, ()) = tokio::join!(blast.pace(1, 10, 300.0), async {
        for at in 0..10 * EVENTS_PER_LEG {
            assert_eq!(
                event(&client.next().await),
                (1 + at / EVENTS_PER_LEG, u8::try_from(at % EVENTS_PER_LEG).unwrap())
            );
        }
    });
    let took = times[29].since(times[0]);
    assert!((Duration::from_millis(90)..Duration::from_secs(2)).contains(&took), "{took:?}");
}

/// Leg number and step of an event of a blast.
fn event(stanza: &Element) -> (u64, u8) {
    let text = String::from(stanza);
    let (_, id) = text.split_once("a+b==:z9hG4bK").unwrap();
    let step = if has(stanza, "retract") { 2 } else { u8::from(has(stanza, "confirmed")) };
    (id[..12].parse().unwrap(), step)
}
