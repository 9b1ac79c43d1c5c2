//! An XMPP client for tests, on the library's lower layer: every stanza is the XML element it is.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures::{SinkExt, StreamExt};
use minidom::Element;
use tokio::io::BufStream;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_xmpp::connect::{DnsConfig, ServerConnector, TcpServerConnector};
use tokio_xmpp::xmlstream::{ReadError, StreamHeader, Timeouts, XmlStream};
use xmpp_parsers::jid::{BareJid, FullJid, Jid};

pub const CLIENT: &str = "jabber:client";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// What takes longer hangs.
const BOUND: Duration = Duration::from_secs(60);

/// One session. Stanzas nobody waited for are kept, in order.
pub struct Client {
    stream: XmlStream<BufStream<TcpStream>, Element>,
    jid: FullJid,
    kept: VecDeque<Element>,
    requests: u32,
}

impl Client {
    /// Connects, logs in, binds `resource` and sends presence.
    pub async fn login(server: SocketAddr, jid: &BareJid, password: &str, resource: &str) -> Self {
        let session = tokio::time::timeout(BOUND, Self::session(server, jid, password, resource));
        session.await.unwrap_or_else(|_| panic!("no session of {jid} within {BOUND:?}"))
    }

    async fn session(server: SocketAddr, jid: &BareJid, password: &str, resource: &str) -> Self {
        let connector = TcpServerConnector(DnsConfig::Addr { addr: server.to_string() });
        let account = Jid::from(jid.clone());
        let (stream, _) = connector.connect(&account, CLIENT, Timeouts::default()).await.expect("a connection");
        let (_, mut stream) = stream.recv_features::<Element>().await.expect("stream features");
        let user = jid.node().expect("a local part");
        let proof = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
        let auth = format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{proof}</auth>");
        stream.send(&auth.parse::<Element>().expect("XML")).await.expect("credentials are sent");
        let answer = stream.next().await.expect("an answer to the log-in").expect("an answer to the log-in");
        assert!(answer.is("success", SASL), "the log-in of {jid} was answered {}", String::from(&answer));
        let header = StreamHeader { to: Some(jid.domain().as_str().into()), from: None, id: None };
        let stream = stream.initiate_reset().send_header(header).await.expect("a restarted stream");
        let (_, stream) = stream.recv_features().await.expect("stream features after the log-in");

        let unbound = jid.with_resource_str("unbound").expect("a resource");
        let mut client = Self { stream, jid: unbound, kept: VecDeque::new(), requests: 0 };
        let bind = format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>");
        let bound = client.request("set", None, &bind).await.expect("a bound resource");
        let bound = bound.children().find_map(|bind| bind.children().find(|child| child.name() == "jid"));
        client.jid = bound.expect("a JID in the answer").text().parse().expect("a full JID");
        client.send("<presence xmlns='jabber:client'><priority>1</priority></presence>").await;
        client
    }

    /// What the server bound.
    pub fn jid(&self) -> &FullJid {
        &self.jid
    }

    /// Sends one stanza, given as XML.
    pub async fn send(&mut self, xml: &str) {
        let stanza: Element = xml.parse().unwrap_or_else(|error| panic!("{error} in {xml}"));
        self.stream.send(&stanza).await.expect("the stanza is sent");
    }

    /// Sends an IQ with `payload` and returns the result, or the whole error stanza.
    pub async fn request(&mut self, kind: &str, to: Option<&str>, payload: &str) -> Result<Element, Element> {
        self.requests += 1;
        let id = format!("r{}", self.requests);
        let to = to.map(|to| format!(" to='{to}'")).unwrap_or_default();
        self.send(&format!("<iq xmlns='{CLIENT}' type='{kind}' id='{id}'{to}>{payload}</iq>")).await;
        let answer = self
            .within(BOUND, |stanza| {
                stanza.is("iq", CLIENT)
                    && stanza.attr("id") == Some(&id)
                    && matches!(stanza.attr("type"), Some("result" | "error"))
            })
            .await
            .unwrap_or_else(|| panic!("no answer within {BOUND:?} to {payload}"));
        if answer.attr("type") == Some("result") { Ok(answer) } else { Err(answer) }
    }

    /// The first stanza, kept or to come within `bound`, that fulfils `wanted`; all others are kept.
    pub async fn within(&mut self, bound: Duration, wanted: impl Fn(&Element) -> bool) -> Option<Element> {
        if let Some(at) = self.kept.iter().position(&wanted) {
            return self.kept.remove(at);
        }
        let deadline = Instant::now() + bound;
        loop {
            match tokio::time::timeout_at(deadline, self.stream.next()).await {
                Err(_) => return None,
                Ok(Some(Ok(stanza))) if wanted(&stanza) => return Some(stanza),
                Ok(Some(Ok(stanza))) => self.kept.push_back(stanza),
                Ok(Some(Err(ReadError::SoftTimeout))) => {}
                Ok(other) => panic!("the session of {} ended: {other:?}", self.jid),
            }
        }
    }

    /// The same, but its absence fails the test.
    pub async fn expect(&mut self, what: &str, bound: Duration, wanted: impl Fn(&Element) -> bool) -> Element {
        match self.within(bound, wanted).await {
            Some(stanza) => stanza,
            None => panic!("{} waited {bound:?} in vain for {what}; kept: {:#?}", self.jid, self.texts()),
        }
    }

    /// What was received and not asked for, as XML.
    pub fn texts(&self) -> Vec<String> {
        self.kept.iter().map(String::from).collect()
    }
}
