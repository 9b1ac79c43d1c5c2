//! The service without sockets, on virtual time: what a client says and hears.

use std::time::Duration;

use minidom::Element;

use super::behaviour::{Answering, Approval, Authorize, Bind, Failure, Login};
use super::delivery::{Entry, Headers, Publication};
use super::directory::Account;
use super::faults::Faults;
use super::names::{CLIENT, SASL};
use super::observed::Request;
use super::reader::Incoming;
use super::scram::Mechanism;
use super::switchboard::{CountedBy, Next, Order, SessionId, Stall, Switchboard, Terms};
use crate::domain::moment::Moment;
use crate::domain::{BareJid, FullJid};

mod resumption;

const NODE: &str = "/me/anna@acme.test";
const LEAF: &str = "/acme.test/anna";
const CALLS: &str = "pubsub.active-calls.x.test";

struct Rehearsal {
    board: Switchboard,
    now: Moment,
}

impl Rehearsal {
    fn new() -> Self {
        let terms = Terms {
            services_domain: "x.test".into(),
            most_subscriptions: 10,
            counted_by: CountedBy::FullJid,
            mechanisms: vec![Mechanism::Plain],
            starttls: false,
            seed: 1,
        };
        let mut board = Switchboard::new(terms);
        board.directory.add(Account::new("anna@acme.test", "secret").unwrap().owning("sales@other.test"));
        board.directory.add(Account::new("bert@acme.test", "secret").unwrap());
        Self { board, now: Moment::virtual_at(Duration::ZERO, "2026-01-01T00:00:00Z".parse().unwrap()) }
    }

    fn anna() -> BareJid {
        BareJid::new("anna@acme.test").unwrap()
    }

    /// A client that is online with priority 1.
    fn online(&mut self, resource: &str) -> SessionId {
        self.online_as(&format!("anna@acme.test/{resource}"), 1)
    }

    fn online_as(&mut self, jid: &str, priority: i8) -> SessionId {
        let id = self.board.connected(false, self.now);
        let jid = FullJid::new(jid).unwrap();
        self.board.register(id, &jid);
        self.board.present(&jid, Some(priority));
        id
    }

    fn hear(&mut self, id: SessionId) -> Vec<Element> {
        let heard = self.board.orders().into_iter().filter(|(to, _)| *to == id);
        heard.filter_map(|(_, order)| if let Order::Write(text) = order { text.parse().ok() } else { None }).collect()
    }

    fn say(&mut self, id: SessionId, xml: &str) -> Vec<Element> {
        self.board.receive(id, Incoming::Element(xml.parse().unwrap()), self.now);
        self.hear(id)
    }

    fn ask(&mut self, id: SessionId, to: &str, kind: &str, payload: &str) -> Element {
        let xml = format!("<iq xmlns='{CLIENT}' type='{kind}' id='1' to='{to}'>{payload}</iq>");
        let heard = self.say(id, &xml);
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.into_iter().next().unwrap()
    }

    fn pubsub(&mut self, id: SessionId, kind: &str, request: &str) -> Element {
        self.ask(id, CALLS, kind, &format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{request}</pubsub>"))
    }

    fn authorize(&mut self, id: SessionId, fields: &[(&str, &str)]) -> Element {
        let field = |(name, value): &(&str, &str)| format!("<field var='{name}'><value>{value}</value></field>");
        let fields: String = fields.iter().map(field).collect();
        let form = format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>");
        let command =
            format!("<command xmlns='http://jabber.org/protocol/commands' node='authorize-plain'>{form}</command>");
        self.ask(id, "commands.auth.x.test", "set", &command)
    }

    fn authorized(&mut self, resource: &str) -> SessionId {
        let id = self.online(resource);
        self.authorize(id, &[("sip-address", "anna@acme.test"), ("password", "secret")]);
        id
    }

    fn subscribe(&mut self, id: SessionId, node: &str, resource: &str, options: &str) -> Element {
        let request = format!("<subscribe node='{node}' jid='anna@acme.test/{resource}'/>{options}");
        self.pubsub(id, "set", &request)
    }

    /// A client that is online, authorized and subscribed.
    fn subscribed(&mut self, resource: &str, options: &str) -> SessionId {
        let id = self.authorized(resource);
        self.subscribe(id, NODE, resource, options);
        self.wait(1);
        assert!(says(&self.hear(id), "subscribed"));
        id
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.board.tick(self.now);
    }

    fn publish(&mut self) {
        self.publish_item("<active-call xmlns='onsip:active-calls'/>");
    }

    fn publish_item(&mut self, payload: &str) {
        let entries = vec![Entry::Item("a:b=/+".into(), payload.into())];
        self.board.publish(&Publication { service: "active-calls".into(), node: LEAF.into(), entries }, self.now);
    }

    fn subids(&self) -> Vec<String> {
        let all = self.board.subscriptions(&Self::anna(), Some(NODE));
        all.into_iter().map(|entry| entry.subid).collect()
    }
}

fn says(heard: &[Element], text: &str) -> bool {
    heard.iter().any(|element| String::from(element).contains(text))
}

fn fails(answer: &Element, conditions: &[&str]) {
    let text = String::from(answer);
    assert_eq!(answer.attr("type"), Some("error"), "{text}");
    assert!(conditions.iter().all(|condition| text.contains(condition)), "{text}");
}

fn lease(expire: &str) -> String {
    let field = |name: &str, value: &str| format!("<field var='pubsub#{name}'><value>{value}</value></field>");
    format!(
        "<x xmlns='jabber:x:data' type='submit'>{}{}{}</x>",
        field("subscription_type", "items"),
        field("subscription_depth", "all"),
        field("expire", expire)
    )
}

fn with_options(expire: &str) -> String {
    format!("<options>{}</options>", lease(expire))
}

#[test]
fn a_scripted_log_in_fails_as_it_is_told() {
    let mut r = Rehearsal::new();
    r.board.change_behaviour(None, |b| b.login = Login::Fail("temporary-auth-failure"));
    let id = r.board.connected(false, r.now);
    r.board.receive(id, Incoming::Opened(Some("acme.test".into())), r.now);
    let auth = format!("<auth xmlns='{SASL}' mechanism='PLAIN'>AGFubmEAc2VjcmV0</auth>");
    assert!(says(&r.say(id, &auth), "temporary-auth-failure"));
    r.board.change_behaviour(None, |b| b.login = Login::Check);
    let next = r.board.receive(id, Incoming::Element(auth.parse().unwrap()), r.now);
    assert_eq!(next, Next::Restart);
    assert_eq!(r.board.observed().count(&Rehearsal::anna(), Request::Login), 2);
}

#[test]
fn binding_may_give_another_resource() {
    let mut r = Rehearsal::new();
    r.board.change_behaviour(None, |b| b.bind = Bind::Other("elsewhere".into()));
    let id = r.board.connected(false, r.now);
    r.board.receive(id, Incoming::Opened(Some("acme.test".into())), r.now);
    r.say(id, &format!("<auth xmlns='{SASL}' mechanism='PLAIN'>AGFubmEAc2VjcmV0</auth>"));
    let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>router</resource></bind>";
    let heard = r.say(id, &format!("<iq xmlns='{CLIENT}' type='set' id='b'>{bind}</iq>"));
    assert!(says(&heard, "anna@acme.test/elsewhere"));
}

#[test]
fn authorizing_for_all_lists_every_address_in_a_field_of_its_own() {
    let mut r = Rehearsal::new();
    let id = r.online("router");
    let fields = [("sip-address", "anna@acme.test"), ("password", "secret"), ("jid", ""), ("auth-for-all", "1")];
    let answer = String::from(&r.authorize(id, &fields));
    assert_eq!(answer.matches("var='sip'").count() + answer.matches("var=\"sip\"").count(), 2, "{answer}");
    assert!(answer.contains("2026-01-01T01:00:00Z") && answer.contains("sales@other.test"));
}

#[test]
fn a_refused_authorization_echoes_the_password() {
    let mut r = Rehearsal::new();
    let id = r.online("router");
    let answer = r.authorize(id, &[("sip-address", "anna@acme.test"), ("password", "wr0ng")]);
    fails(&answer, &["wr0ng", "bad-request", "bad-action", "Authentication failed"]);
}

#[test]
fn who_is_not_authorized_gets_none() {
    let mut r = Rehearsal::new();
    let id = r.online("router");
    assert!(says(&[r.subscribe(id, NODE, "router", "")], "pending"));
    r.wait(1);
    assert!(says(&r.hear(id), "none"));
    assert_eq!(r.subids().len(), 0);
}

#[test]
fn a_second_subscribe_while_one_is_pending_is_refused() {
    let mut r = Rehearsal::new();
    r.board.change_behaviour(None, |b| b.approval = Approval::Silence);
    let id = r.authorized("router");
    r.subscribe(id, NODE, "router", "");
    fails(&r.subscribe(id, NODE, "router", ""), &["not-authorized", "pending-subscription", "<subscribe"]);
    let listed = String::from(&r.pubsub(id, "get", &format!("<subscriptions node='{NODE}'/>")));
    assert!(listed.contains("pending") && listed.contains(&r.subids()[0]) && !listed.contains("node="));
}

#[test]
fn the_eleventh_subscription_of_a_full_jid_is_too_many() {
    let mut r = Rehearsal::new();
    let id = r.authorized("router");
    for _ in 0..10 {
        r.subscribe(id, NODE, "router", "");
        r.wait(1);
        r.hear(id);
    }
    fails(&r.subscribe(id, NODE, "router", ""), &["wait", "policy-violation", "too-many-subscriptions"]);
    assert!(says(&[r.subscribe(id, NODE, "other", "")], "pending"));
}

#[test]
fn several_subscriptions_of_one_full_jid_make_one_message_with_their_subids() {
    let mut r = Rehearsal::new();
    r.board.style.headers = Headers::First;
    let id = r.subscribed("router", "");
    r.publish();
    assert!(!says(&r.hear(id), "SubID"));
    r.subscribe(id, NODE, "router", "");
    r.wait(1);
    r.hear(id);
    r.publish();
    let heard = r.hear(id);
    assert_eq!(heard.len(), 1);
    assert!(r.subids().iter().all(|subid| says(&heard, subid)));
    assert_eq!(heard[0].children().next().unwrap().name(), "headers");
}

#[test]
fn a_lease_that_ran_out_is_listed_and_silent_until_it_is_renewed() {
    let mut r = Rehearsal::new();
    let id = r.subscribed("router", &with_options("2026-01-01T00:00:05Z"));
    r.publish();
    assert_eq!(r.hear(id).len(), 1);
    r.wait(10);
    r.publish();
    assert_eq!(r.hear(id).len(), 0);
    let subid = r.subids().remove(0);
    let renew = |subid: &str| {
        let form = lease("2026-01-01T02:00:00Z");
        format!("<options node='{NODE}' jid='anna@acme.test/router' subid='{subid}'>{form}</options>")
    };
    fails(&r.pubsub(id, "set", &renew("0")), &["not-acceptable", "invalid-subid"]);
    let answer = r.pubsub(id, "set", &renew(&subid));
    assert_eq!((answer.attr("type"), answer.children().count()), (Some("result"), 0));
    r.publish();
    assert_eq!(r.hear(id).len(), 1);
}

#[test]
fn options_without_a_subscription_are_unexpected() {
    let mut r = Rehearsal::new();
    let id = r.authorized("router");
    let set = format!("<options node='{NODE}' jid='anna@acme.test/router'>{}</options>", lease(""));
    fails(&r.pubsub(id, "set", &set), &["unexpected-request", "not-subscribed"]);
    r.board.change_behaviour(None, |b| b.options = Answering::Fail(Failure::unsupported("subscription-options")));
    fails(&r.pubsub(id, "set", &set), &["feature-not-implemented", "unsupported", "subscription-options"]);
}

#[test]
fn unsubscribing_needs_the_subid_once_there_are_two() {
    let mut r = Rehearsal::new();
    let id = r.subscribed("router", "");
    r.subscribe(id, NODE, "router", "");
    r.wait(1);
    r.hear(id);
    let unsubscribe = |subid: &str| format!("<unsubscribe node='{NODE}' jid='anna@acme.test/router'{subid}/>");
    fails(&r.pubsub(id, "set", &unsubscribe("")), &["bad-request", "subid-required"]);
    let named = unsubscribe(&format!(" subid='{}'", r.subids()[1]));
    assert_eq!(r.pubsub(id, "set", &named).attr("type"), Some("result"));
    assert_eq!(r.pubsub(id, "set", &unsubscribe("")).attr("type"), Some("result"));
    fails(&r.pubsub(id, "set", &unsubscribe("")), &["unexpected-request", "not-subscribed"]);
}

#[test]
fn an_authorization_that_ran_out_ends_the_events_in_silence() {
    let mut r = Rehearsal::new();
    r.board.change_behaviour(None, |b| b.authorize = Authorize::Grant(Duration::from_secs(5)));
    let id = r.subscribed("router", "");
    r.wait(5);
    r.publish();
    assert_eq!(r.hear(id).len(), 0);
    assert_eq!(r.subids().len(), 1);
}

#[test]
fn what_an_absent_resource_subscribed_goes_to_another_one_under_its_old_name() {
    let mut r = Rehearsal::new();
    let old = r.subscribed("router", "");
    let (low, high) = (r.online_as("anna@acme.test/low", 0), r.online_as("anna@acme.test/high", 5));
    r.board.disconnected(old, r.now);
    r.publish();
    let orders = r.board.orders();
    assert_eq!(orders.len(), 1);
    assert!(orders[0].0 == high && orders[0].0 != low);
    assert!(matches!(&orders[0].1, Order::Write(text) if text.contains("to='anna@acme.test/router'")));
}

#[test]
fn what_nobody_could_take_comes_at_the_next_log_in_with_a_delay_stamp() {
    let mut r = Rehearsal::new();
    r.board.style.store_offline = true;
    let old = r.subscribed("router", "");
    r.board.disconnected(old, r.now);
    r.publish();
    let id = r.online("router");
    r.hear(id);
    let heard = r.say(id, &format!("<presence xmlns='{CLIENT}'><priority>1</priority></presence>"));
    assert!(says(&heard, "urn:xmpp:delay") && says(&heard, "2026-01-01T00:00:01Z"), "{heard:?}");
}

#[test]
fn live_items_of_every_address_are_returned_by_leaf() {
    let mut r = Rehearsal::new();
    let id = r.authorized("router");
    r.publish_item("<active-call xmlns='onsip:active-calls'/>");
    let answer = String::from(&r.pubsub(id, "get", &format!("<items node='{NODE}'/>")));
    assert!(answer.contains(LEAF) && answer.contains("a:b=/+") && answer.contains("active-call"), "{answer}");
    fails(&r.pubsub(id, "get", "<items node='/acme.test/bert'/>"), &["forbidden"]);
    Faults::from_toml("items = 'empty'").unwrap().rules(&mut r.board);
    let answer = String::from(&r.pubsub(id, "get", &format!("<items node='{NODE}'/>")));
    assert!(answer.contains(LEAF) && !answer.contains("<active-call"), "{answer}");
    for (items, condition) in
        [("unsupported", "feature-not-implemented"), ("forbidden", "forbidden"), ("missing", "item-not-found")]
    {
        Faults::from_toml(&format!("items = '{items}'")).unwrap().rules(&mut r.board);
        fails(&r.pubsub(id, "get", &format!("<items node='{NODE}'/>")), &[condition]);
    }
}

#[test]
fn the_root_and_a_domain_redirect_to_the_collections_and_scripts_can_go_in_circles() {
    let mut r = Rehearsal::new();
    let id = r.authorized("router");
    let to = format!("xmpp:{CALLS}?;node=/me/anna@acme.test/acme.test");
    fails(&r.subscribe(id, "/acme.test", "router", ""), &["redirect", &to]);
    r.board.redirects.insert("/a/b".into(), "/a/b".into());
    fails(&r.subscribe(id, "/a/b", "router", ""), &["redirect", "?;node=/a/b"]);
}

#[test]
fn a_deaf_link_answers_pings_and_delivers_nothing() {
    let mut r = Rehearsal::new();
    let id = r.subscribed("router", "");
    r.board.sessions.get_mut(&id).unwrap().stall = Some(Stall::Deaf);
    r.publish();
    assert_eq!(r.hear(id).len(), 0);
    let pong = r.ask(id, "acme.test", "get", "<ping xmlns='urn:xmpp:ping'/>");
    assert_eq!(pong.attr("type"), Some("result"));
}

#[test]
fn an_answer_may_come_after_the_event() {
    let mut r = Rehearsal::new();
    r.board.change_behaviour(None, |b| b.reply_delay = Duration::from_millis(500));
    let id = r.authorized_slowly();
    let heard = r.say(
        id,
        &format!(
            "<iq xmlns='{CLIENT}' type='set' id='s' to='{CALLS}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <subscribe node='{NODE}' jid='anna@acme.test/router'/></pubsub></iq>"
        ),
    );
    assert_eq!(heard.len(), 0);
    r.wait(1);
    let heard = r.hear(id);
    assert_eq!((heard[0].name(), heard[1].name()), ("message", "iq"));
}

#[test]
fn unknown_requests_are_not_served() {
    let mut r = Rehearsal::new();
    let id = r.online("router");
    fails(&r.ask(id, "acme.test", "get", "<query xmlns='jabber:iq:roster'/>"), &["service-unavailable"]);
    let time = r.ask(id, "commands.auth.x.test", "get", "<time xmlns='urn:xmpp:time'/>");
    assert!(says(&[time], "2026-01-01T00:00:00Z"));
}

impl Rehearsal {
    fn authorized_slowly(&mut self) -> SessionId {
        let id = self.online("router");
        self.board.authorizations.grant(&Self::anna(), "anna@acme.test", self.now + Duration::from_hours(1));
        id
    }
}
