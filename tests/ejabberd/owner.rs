//! The owner of a node: publishes calls, and decides who may subscribe.

use std::time::{Duration, SystemTime};

use minidom::Element;
use xmpp_parsers::jid::FullJid;

use super::server::{PASSWORD, SERVICE, Server};
use crate::support::condition::{self, SOON};
use crate::support::xmpp::{CLIENT, Client};

pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
const FORM: &str = "jabber:x:data";
const AUTHORIZATION: &str = "http://jabber.org/protocol/pubsub#subscribe_authorization";

/// One subscription as the owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub jid: String,
    pub state: String,
    pub subid: Option<String>,
}

/// An account with one node of its own, online.
pub struct Owner {
    client: Client,
    node: String,
}

impl Owner {
    /// Registers an account and creates a node on which every subscription has to be approved.
    pub async fn with_node(server: &Server, name: &str) -> Self {
        let jid = server.register(&format!("{name}-owner")).await;
        let client = Client::login(server.xmpp, &jid, PASSWORD, "publisher").await;
        let node = format!("/example.com/{name}-{}", std::process::id());
        let mut owner = Self { client, node };
        let options = [
            ("access_model", "authorize"),
            ("publish_model", "publishers"),
            ("persist_items", "1"),
            ("notify_retract", "1"),
            ("notify_sub", "0"),
            ("send_last_published_item", "never"),
        ];
        let fields = options.map(|(key, value)| format!("<field var='pubsub#{key}'><value>{value}</value></field>"));
        let create = format!(
            "<pubsub xmlns='{PUBSUB}'><create node='{}'/><configure><x xmlns='{FORM}' type='submit'>\
             <field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#node_config</value></field>{}\
             </x></configure></pubsub>",
            owner.node,
            fields.concat()
        );
        owner.ask("set", &create).await;
        owner
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Every subscription of the node.
    pub async fn subscriptions(&mut self) -> Vec<Entry> {
        let list = format!("<pubsub xmlns='{OWNER}'><subscriptions node='{}'/></pubsub>", self.node);
        let answer = self.ask("get", &list).await;
        let entries = answer.get_child("pubsub", OWNER).and_then(|pubsub| pubsub.get_child("subscriptions", OWNER));
        let attr = |entry: &Element, name| entry.attr(name).map(str::to_owned);
        entries
            .expect("a list")
            .children()
            .map(|entry| Entry {
                jid: attr(entry, "jid").expect("a jid"),
                state: attr(entry, "subscription").expect("a state"),
                subid: attr(entry, "subid"),
            })
            .collect()
    }

    /// Waits until `jid` is subscribed. (What is pending, this server does not list to the owner.)
    pub async fn until_subscribed(&mut self, jid: &FullJid) {
        let what = format!("the subscription of {jid}");
        let found = condition::until(&what, SOON, async || {
            let entries = self.subscriptions().await;
            entries.iter().any(|entry| entry.jid == jid.as_str() && entry.state == "subscribed").then_some(())
        });
        found.await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Takes a subscription away.
    pub async fn revoke(&mut self, jid: &FullJid) {
        let set = format!(
            "<pubsub xmlns='{OWNER}'><subscriptions node='{}'><subscription jid='{jid}' subscription='none'/>\
             </subscriptions></pubsub>",
            self.node
        );
        self.ask("set", &set).await;
    }

    /// The next request for approval within `bound`; the server sends one for every subscribe.
    pub async fn request(&mut self, bound: Duration) -> Option<Element> {
        self.client.within(bound, |stanza| stanza.is("message", CLIENT) && is_request(stanza)).await
    }

    /// Who asks in `request`.
    pub fn subscriber(request: &Element) -> String {
        let form = request.get_child("x", FORM).expect("a form");
        value(form, "pubsub#subscriber_jid").expect("a subscriber")
    }

    /// Answers a request by its form.
    pub async fn answer(&mut self, request: &Element, allow: bool) {
        let form = request.get_child("x", FORM).expect("a form");
        let copied = ["pubsub#node", "pubsub#subscriber_jid"].map(|var| {
            let value = value(form, var).unwrap_or_else(|| panic!("no {var} in {}", String::from(request)));
            format!("<field var='{var}'><value>{value}</value></field>")
        });
        let message = format!(
            "<message xmlns='{CLIENT}' to='{SERVICE}'><x xmlns='{FORM}' type='submit'>\
             <field var='FORM_TYPE' type='hidden'><value>{AUTHORIZATION}</value></field>{}\
             <field var='pubsub#allow'><value>{allow}</value></field></x></message>",
            copied.concat()
        );
        self.client.send(&message).await;
    }

    /// Publishes the state of a leg of the call `call_id`.
    pub async fn publish(&mut self, item: &str, state: State, call_id: &str) {
        let publish = format!(
            "<pubsub xmlns='{PUBSUB}'><publish node='{}'><item id='{item}'>{}</item></publish></pubsub>",
            self.node,
            state.payload(call_id)
        );
        self.ask("set", &publish).await;
    }

    /// Ends a leg.
    pub async fn retract(&mut self, item: &str) {
        let retract = format!(
            "<pubsub xmlns='{PUBSUB}'><retract node='{}' notify='1'><item id='{item}'/></retract></pubsub>",
            self.node
        );
        self.ask("set", &retract).await;
    }

    /// Asks until the answer is not that the server's database got in its own way, as it does when several owners
    /// create nodes at once; nothing of such a request was done.
    async fn ask(&mut self, kind: &str, payload: &str) -> Element {
        let answer = condition::until("the database", SOON, async || {
            match self.client.request(kind, Some(SERVICE), payload).await {
                Err(error) if String::from(&error).contains("<internal-server-error ") => None,
                answer => Some(answer),
            }
        });
        let answer = answer.await.unwrap_or_else(|error| panic!("{error}: {payload}"));
        answer.unwrap_or_else(|error| panic!("{payload} was answered {}", String::from(&error)))
    }
}

/// The state of a leg.
#[derive(Clone, Copy, Debug)]
pub enum State {
    Created,
    Requested,
    Confirmed,
}

impl State {
    fn payload(self, call_id: &str) -> String {
        let now = jiff::Timestamp::try_from(SystemTime::UNIX_EPOCH + now()).expect("a time");
        let (state, branch, to_tag) = match self {
            Self::Created => ("created", "", ""),
            Self::Requested => ("requested", "z9hG4bK1", ""),
            Self::Confirmed => ("confirmed", "", "T1"),
        };
        format!(
            "<active-call xmlns='onsip:active-calls' publish-time='{now:.0}'><dialog-state>{state}</dialog-state>\
             <to-aor/><call-id>{call_id}</call-id><from-uri>sip:user1@example.com</from-uri>\
             <to-uri>sip:12125550111@example.com</to-uri><from-tag>F1</from-tag><to-tag>{to_tag}</to-tag>\
             <branch>{branch}</branch><call-setup-id/><from-display>User One</from-display><to-display/></active-call>"
        )
    }
}

fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970")
}

fn is_request(message: &Element) -> bool {
    message.get_child("x", FORM).is_some_and(|form| value(form, "FORM_TYPE").as_deref() == Some(AUTHORIZATION))
}

fn value(form: &Element, var: &str) -> Option<String> {
    let field = form.children().find(|field| field.attr("var") == Some(var))?;
    Some(field.get_child("value", FORM)?.text())
}
