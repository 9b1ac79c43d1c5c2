//! The daemon against a real server: Prosody, installed by `tests/run`, started by the tests because they kill it.
//!
//! This server has TLS, SCRAM, stream management and room for many; it has no approval, so a node answers `subscribed` at
//! once.
#![allow(clippy::expect_used, clippy::panic, clippy::float_cmp, reason = "tests; counts are whole")]

mod prosody {
    //! What is particular to this server.
    pub mod proxy;
    pub mod server;
}
mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minidom::Element;
use onsip_router::domain::BareJid;
use onsip_router::domain::secret::Secret;
use onsip_router::protocol::logins::Urgency;
use onsip_router::protocol::sasl::Mechanisms;
use onsip_router::xmpp::connector::Connector;
use onsip_router::xmpp::login::Credential;
use onsip_router::xmpp::options::{Options, Tls};
use onsip_router::xmpp::session::{self, Bounds, Event, Plan, Received, Session};
use prosody::proxy::Proxy;
use prosody::server::{DOMAIN, PASSWORD, PUBLISHER, PUBSUB, Server, TLS_NAME};
use support::condition::SOON;
use support::daemon::Daemon;
use support::stage::{EVENTS, calls, gaps, ringing, what_happened};

const ACCOUNTS: u16 = 500;
const CONCURRENT_LOGINS: usize = 20;
/// For all of them to log in: the server hashes every password and does nothing else meanwhile.
const ALL_IN: Duration = Duration::from_mins(2);

fn configuration(server: SocketAddr, authority: &Path, accounts: u16) -> String {
    let mut config = format!(
        r#"
        [xmpp]
        host = "127.0.0.1"
        port = {}
        tls = "starttls"
        ca_file = "{}"
        tls_name = "{TLS_NAME}"
        concurrent_logins = {CONCURRENT_LOGINS}
        [onsip]
        services_domain = "{DOMAIN}"
        authorize = false
        [store]
        url = "sqlite://state.db"
        [sinks.log]
        type = "file"
        path = "events.jsonl"
        [http]
        listen = "127.0.0.1:0"
        "#,
        server.port(),
        authority.display(),
    );
    for number in 1..=accounts {
        let _ = write!(config, "[accounts.a{number}]\njid = \"user{number}@{DOMAIN}\"\npassword = \"{PASSWORD}\"\n");
    }
    config
}

async fn until_live(daemon: &Daemon, accounts: u16) {
    let all = f64::from(accounts);
    daemon.until_metric("accounts", &[("state", "online")], ALL_IN, |online| online >= all).await;
    daemon.until_metric("subscriptions", &[("state", "active")], ALL_IN, |active| active >= all).await;
}

/// A session of whom the server lets publish.
struct Publisher(Session);

impl Publisher {
    async fn log_in(server: &Server) -> Self {
        let options = Options {
            host: Some("127.0.0.1".to_owned()),
            port: server.address().port(),
            tls: Tls::Starttls,
            ca_file: Some(server.authority()),
            tls_name: Some(TLS_NAME.to_owned()),
            concurrent_logins: 1,
            request_timeout: SOON,
            ping_interval: SOON,
        };
        let jid = BareJid::new(&format!("{PUBLISHER}@{DOMAIN}")).expect("a JID");
        let credential = Credential {
            jid,
            password: Secret::from(PASSWORD.to_owned()),
            resource: "test".to_owned(),
            refused_mechanisms: Mechanisms::default(),
        };
        let connector = Connector::new(options).expect("a connector");
        let mut session =
            session::start(connector, credential, Arc::from([]), None, Bounds::new(1, None), Plan::Plain, Urgency::New);
        match session.events.recv().await.as_deref() {
            Some(Event::Up(_)) => Self(session),
            other => panic!("no session of the publisher: {other:?}"),
        }
    }

    /// Has a call ring on the node of an account, and waits until the server took it.
    async fn ring(&mut self, account: u16, call: &str) {
        let (node, payload) = (format!("/me/user{account}@{DOMAIN}"), ringing(call));
        let request = format!(
            "<iq xmlns='jabber:client' type='set' id='{call}' to='{PUBSUB}'>\
             <pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item id='{call}'>{payload}</item>\
             </publish></pubsub></iq>"
        );
        self.0.outbox.send(Box::new(request.parse::<Element>().expect("XML"))).await.expect("the session lives");
        loop {
            match self.0.events.recv().await.as_deref() {
                Some(Event::Received(received, ..)) => {
                    let elements = received.iter().filter_map(|one| match one {
                        Received::Element(element) => Some(element),
                        Received::Note(_) => None,
                    });
                    if let Some(answer) = { elements }.find(|element| element.attr("id") == Some(call)) {
                        assert_eq!(answer.attr("type"), Some("result"), "{}", String::from(answer));
                        return;
                    }
                }
                other => panic!("the publisher's session ended: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn connections_that_are_cut_are_resumed_with_every_event_once_and_without_a_gap() {
    const FEW: u16 = 20;
    let server = Server::start(FEW).await;
    let proxy = Proxy::start(server.address()).await;
    let daemon = Daemon::start(&configuration(proxy.address(), &server.authority(), FEW), &[]).await;
    until_live(&daemon, FEW).await;
    let mut publisher = Publisher::log_in(&server).await;
    for round in 1..=3u16 {
        let all = f64::from(FEW * round);
        proxy.cut();
        daemon.until_metric("disconnects_total", &[("reason", "network")], SOON, |lost| lost >= all).await;
        for account in 1..=FEW {
            publisher.ring(account, &format!("call-{round}-{account}")).await;
        }
        daemon.until_metric("resumptions_total", &[("outcome", "resumed")], SOON, |resumed| resumed >= all).await;
        until_live(&daemon, FEW).await;
        daemon.until_events(EVENTS, usize::from(FEW * round), SOON).await;
    }
    let told = daemon.events(EVENTS);
    let happened: BTreeSet<_> = told.iter().map(what_happened).collect();
    assert_eq!((told.len(), happened.len(), calls(told.clone()).len()), (60, 60, 60), "{told:#?}");
    assert!(gaps(told).is_empty());
    assert_eq!(daemon.metric("resumptions_total", &[("outcome", "failed")]).await, 0.0);
    assert_eq!(daemon.metric("subscriptions_created_total", &[]).await, f64::from(FEW));
    assert_eq!(daemon.metric("subscriptions_reused_total", &[]).await, 0.0);
}

#[tokio::test]
async fn five_hundred_accounts_log_in_with_scram_over_tls_and_come_back_after_the_server_was_killed() {
    let mut server = Server::start(ACCOUNTS).await;
    let daemon = Daemon::start(&configuration(server.address(), &server.authority(), ACCOUNTS), &[]).await;
    until_live(&daemon, ACCOUNTS).await;
    assert_eq!(server.logins(), usize::from(ACCOUNTS));

    server.kill().await;
    daemon.until_metric("accounts", &[("state", "online")], SOON, |online| online == 0.0).await;
    server.start_again().await;
    until_live(&daemon, ACCOUNTS).await;

    assert_eq!(daemon.metric("connects_total", &[("outcome", "refused")]).await, 0.0);
    let forgotten = daemon.metric("resumptions_total", &[("outcome", "failed")]).await;
    assert!(forgotten > 0.0, "a server that was killed has nothing to resume");
    assert!(daemon.metric("connects_total", &[("outcome", "online")]).await >= 2.0 * f64::from(ACCOUNTS));
    let most = server.most_handshakes();
    let taken_over = daemon.metric("logins_taken_over_total", &[]).await;
    assert!(most >= 1 && most as f64 <= CONCURRENT_LOGINS as f64 + taken_over, "{most} at once, {taken_over} taken over");
}

#[tokio::test]
async fn a_server_with_a_certificate_of_an_unknown_authority_is_not_talked_to() {
    let (server, other) = (Server::start(1).await, Server::start(0).await);
    let daemon = Daemon::start(&configuration(server.address(), &other.authority(), 1), &[]).await;
    daemon.until_metric("connects_total", &[("outcome", "tls")], SOON, |tls| tls >= 1.0).await;
    assert_eq!(daemon.metric("connects_total", &[("outcome", "online")]).await, 0.0);
    assert_eq!(server.logins(), 0);
}
