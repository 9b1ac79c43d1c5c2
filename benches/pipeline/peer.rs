//! A contestant written in Rust, in a process of its own: this benchmark again, with a hidden argument.

use std::sync::Arc;

use onsip_router::simulator::Account;
use tokio_xmpp::Stanza;
use tokio_xmpp::jid::FullJid;
use tokio_xmpp::minidom::Element;
use tokio_xmpp::parsers::iq::Iq;

use super::notification;
use super::tally::Tally;
use super::{bytes, client, stage, stream};

/// The argument that makes a contestant of it.
pub const HIDDEN: &str = "--contestant";

/// Where to go and as whom.
pub struct Orders {
    pub address: String,
    pub services_domain: String,
    pub starttls: bool,
}

/// Is the contestant `arguments` name: its name, the service, the services' domain, the accounts, and `starttls` or `off`.
pub async fn run(arguments: &[String]) {
    let [name, address, services_domain, accounts, tls] = arguments else { panic!("not for people: {arguments:?}") };
    let (address, services_domain) = (address.clone(), services_domain.clone());
    let orders = Arc::new(Orders { address, services_domain, starttls: tls == "starttls" });
    let accounts: Vec<Account> = (1..=accounts.parse().unwrap()).map(stage::account).collect();
    let tally = Tally::of(accounts.len());
    for account in accounts {
        let (orders, tally) = (orders.clone(), tally.clone());
        match name.as_str() {
            "bytes" => drop(tokio::spawn(bytes::session(account, orders, tally))),
            "client" => drop(tokio::spawn(client::session(account, orders, tally))),
            "stream" => drop(tokio::spawn(stream::session(account, orders, tally))),
            _ => panic!("there is no contestant {name}"),
        }
    }
    tally.obey().await;
    std::process::exit(0); // the sessions end with their process
}

/// What one session says and hears, whatever carries it.
pub struct Errand {
    account: Account,
    services_domain: String,
    jid: Option<FullJid>,
    subscribed: bool,
    tally: Arc<Tally>,
}

impl Errand {
    pub fn new(account: Account, orders: &Orders, tally: Arc<Tally>) -> Self {
        let services_domain = orders.services_domain.clone();
        Self { account, services_domain, jid: None, subscribed: false, tally }
    }

    pub fn is_done(&self) -> bool {
        self.subscribed
    }

    /// What to send once bound.
    pub fn begin(&mut self, jid: FullJid) -> Vec<Stanza> {
        self.jid = Some(jid);
        let field = |name: &str, value: &str| format!("<field var='{name}'><value>{value}</value></field>");
        let authorize = format!(
            "<iq xmlns='jabber:client' type='set' id='authorize' to='commands.auth.{}'>\
             <command xmlns='http://jabber.org/protocol/commands' node='authorize-plain'>\
             <x xmlns='jabber:x:data' type='submit'>{}{}{}</x></command></iq>",
            self.services_domain,
            field("sip-address", self.account.jid.as_str()),
            field("password", &self.account.password),
            field("auth-for-all", "true"),
        );
        let presence = "<presence xmlns='jabber:client'><priority>1</priority></presence>".to_owned();
        [presence, authorize].iter().map(|text| stanza(text)).collect()
    }

    /// Takes what comes, and returns what to say to it.
    pub fn take(&mut self, stanza: Stanza) -> Option<Stanza> {
        match stanza {
            Stanza::Message(message) => {
                for event in notification::events(&message.payloads) {
                    self.tally.event(&event);
                }
                if !self.subscribed && notification::approves(&message.payloads) {
                    self.subscribed = true;
                    self.tally.subscribed();
                }
                None
            }
            Stanza::Iq(Iq::Result { id, .. }) if id == "authorize" => Some(self.subscribe()),
            Stanza::Iq(Iq::Error { error, .. }) => panic!("{}: {error:?}", self.account.jid),
            Stanza::Iq(_) | Stanza::Presence(_) => None,
        }
    }

    fn subscribe(&self) -> Stanza {
        let jid = self.jid.as_ref().unwrap();
        stanza(&format!(
            "<iq xmlns='jabber:client' type='set' id='subscribe' to='pubsub.active-calls.{}'>\
             <pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='/me/{}' jid='{jid}'/></pubsub></iq>",
            self.services_domain, self.account.jid
        ))
    }
}

fn stanza(text: &str) -> Stanza {
    let element: Element = text.parse().unwrap();
    match element.name() {
        "iq" => Stanza::Iq(element.try_into().unwrap()),
        _ => Stanza::Presence(element.try_into().unwrap()),
    }
}
