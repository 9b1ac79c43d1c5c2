//! The whole service as one state machine: what clients send goes in with the time, orders to their connections come out.
//!
//! Must not know sockets, tasks or clocks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use jiff::SignedDuration;
use minidom::Element;

use super::authorization::Authorizations;
use super::behaviour::Behaviour;
pub use super::behaviour::Stall;
use super::delivery::{Notification, Style};
use super::dice::Dice;
use super::directory::Directory;
use super::login::Stage;
use super::management::Managed;
use super::markup::Tag;
use super::mischief::Detour;
use super::names::{MANAGEMENT, STREAM_ERRORS};
use super::observed::Observed;
use super::pubsub::Hub;
use super::reader::Incoming;
use super::scram::{Challenge, Mechanism};
use super::subscription::Subids;
use crate::domain::moment::Moment;
use crate::domain::{BareJid, FullJid};

/// One connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(super) u64);

/// What a connection is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Write this.
    Write(String),
    /// Write what is queued, then close.
    Close,
    /// Vanish at once.
    Cut,
}

/// How the reader of a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// As before.
    Go,
    /// With a new stream (RFC 6120 section 6.4.6).
    Restart,
    /// With TLS, then a new stream.
    StartTls,
}

/// Something to do later.
#[derive(Debug)]
pub(super) enum Deed {
    /// Decide on a pending subscription.
    Decide { service: String, node: String, subid: String, grant: bool },
    /// Write an answer that was held back.
    Answer(SessionId, String),
    /// Deliver a notification that was held back.
    Deliver(Notification),
    /// End a session nobody resumed.
    Expire(SessionId),
}

/// What the service knows of a connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) stage: Stage,
    pub(super) domain: String,
    pub(super) secure: bool,
    /// Neither bound nor refused yet.
    pub(super) shaking_hands: bool,
    pub(super) stall: Option<Stall>,
    pub(super) challenge: Option<Challenge>,
    pub(super) managed: Option<Managed>,
    /// Its connection is lost, and it waits to be resumed.
    pub(super) away: bool,
}

/// Whose subscriptions on a node count together against the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountedBy {
    /// Those of one resource.
    #[default]
    FullJid,
    /// Those of the whole account.
    BareJid,
}

/// What does not change while the service runs.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) services_domain: String,
    pub(super) most_subscriptions: usize,
    pub(super) counted_by: CountedBy,
    pub(super) mechanisms: Vec<Mechanism>,
    pub(super) starttls: bool,
    pub(super) seed: u64,
}

/// The state of the service.
#[derive(Debug)]
pub struct Switchboard {
    pub(super) terms: Terms,
    pub(super) directory: Directory,
    pub(super) authorizations: Authorizations,
    pub(super) hubs: BTreeMap<String, Hub>,
    pub(super) redirects: HashMap<String, String>,
    pub(super) detour: Detour,
    pub(super) offline: HashMap<BareJid, Vec<(Moment, String)>>,
    pub(super) observed: Observed,
    pub(super) style: Style,
    pub(super) subids: Subids,
    pub(super) dice: Dice,
    pub(super) turn: bool,
    pub(super) mute: bool,
    /// Where every new stream is sent.
    pub(super) elsewhere: Option<String>,
    /// By how much the service's clock is ahead of the true time.
    pub(super) clock_ahead: SignedDuration,
    pub(super) sessions: HashMap<SessionId, Session>,
    bound: HashMap<BareJid, BTreeMap<String, (SessionId, Option<i8>)>>,
    behaviour: Behaviour,
    behaviours: HashMap<BareJid, Behaviour>,
    /// Messages of sessions that are over.
    pub(super) orphans: Vec<Notification>,
    orders: Vec<(SessionId, Order)>,
    pub(super) deeds: BTreeMap<u64, Deed>,
    agenda: BinaryHeap<Reverse<(Moment, u64)>>,
    last: u64,
}

impl Switchboard {
    pub(super) fn new(terms: Terms) -> Self {
        let dice = Dice::seeded(terms.seed);
        Self {
            terms,
            directory: Directory::default(),
            authorizations: Authorizations::default(),
            hubs: BTreeMap::new(),
            redirects: HashMap::new(),
            detour: Detour::default(),
            offline: HashMap::new(),
            observed: Observed::default(),
            style: Style::default(),
            subids: Subids::default(),
            dice,
            turn: false,
            mute: false,
            elsewhere: None,
            clock_ahead: SignedDuration::ZERO,
            sessions: HashMap::new(),
            bound: HashMap::new(),
            behaviour: Behaviour::default(),
            behaviours: HashMap::new(),
            orphans: Vec::new(),
            orders: Vec::new(),
            deeds: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            last: 0,
        }
    }

    /// A client has connected.
    pub(super) fn connected(&mut self, secure: bool, now: Moment) -> SessionId {
        self.last += 1;
        let id = SessionId(self.last);
        self.observed.connected(now);
        let stall = self.mute.then_some(Stall::Dead);
        let (stage, domain) = (Stage::Open, String::new());
        let (challenge, managed) = (None, None);
        let session = Session { stage, domain, secure, shaking_hands: true, stall, challenge, managed, away: false };
        self.sessions.insert(id, session);
        id
    }

    /// A session is over.
    pub(super) fn ended(&mut self, id: SessionId) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        self.observed.shook_hands(&mut session.shaking_hands);
        if let Stage::Bound(jid) = session.stage {
            self.unbind(id, &jid);
        }
        if let Some(managed) = session.managed {
            self.orphan(&managed);
        }
    }

    pub(super) fn unbind(&mut self, id: SessionId, jid: &FullJid) {
        let bare = jid.to_bare();
        if let Some(resources) = self.bound.get_mut(&bare) {
            resources.retain(|_, (session, _)| *session != id);
            if resources.is_empty() {
                self.bound.remove(&bare);
            }
        }
    }

    /// Another connection is `jid` from now on, with the presence it had.
    pub(super) fn rebind(&mut self, jid: &FullJid, id: SessionId) {
        let resources = self.bound.get_mut(&jid.to_bare());
        if let Some((known, _)) = resources.and_then(|all| all.get_mut(jid.resource().as_str())) {
            *known = id;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stage = Stage::Bound(jid.clone());
            self.observed.shook_hands(&mut session.shaking_hands);
        }
    }

    /// Whether nothing a client does is noticed.
    pub(super) fn is_dead(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.stall == Some(Stall::Dead))
    }

    /// A client has sent something.
    pub(super) fn receive(&mut self, id: SessionId, incoming: Incoming, now: Moment) -> Next {
        if !self.sessions.contains_key(&id) || self.is_dead(id) {
            return Next::Go;
        }
        match incoming {
            Incoming::Opened(to) => self.open(id, to),
            Incoming::Element(element) => return self.element(id, &element, now),
            Incoming::Closed => self.close(id),
        }
        Next::Go
    }

    fn element(&mut self, id: SessionId, element: &Element, now: Moment) -> Next {
        match self.sessions.get(&id).map(|session| &session.stage) {
            Some(Stage::Open) => self.log_in(id, element, now),
            Some(Stage::Authenticated(jid)) => {
                let jid = jid.clone();
                if element.is("resume", MANAGEMENT) {
                    self.resume(id, &jid, element, now);
                } else {
                    self.bind(id, &jid, element, now);
                }
                Next::Go
            }
            Some(Stage::Bound(jid)) => {
                let jid = jid.clone();
                if !self.manage(id, &jid.to_bare(), element) {
                    self.stanza(id, &jid, element, now);
                    self.count(id, element);
                }
                Next::Go
            }
            None => Next::Go,
        }
    }

    /// Ends a stream with an error.
    pub(super) fn stream_error(&mut self, id: SessionId, condition: &'static str, content: &str) {
        let condition = Tag::of(condition, STREAM_ERRORS);
        let condition = if content.is_empty() { condition } else { condition.text(content) };
        self.order(id, Order::Write(Tag::new("stream:error").child(condition).finish()));
        self.close(id);
    }

    /// Ends a stream.
    pub(super) fn close(&mut self, id: SessionId) {
        self.order(id, Order::Write("</stream:stream>".to_owned()));
        self.order(id, Order::Close);
        self.ended(id);
    }

    /// Drops a connection without a word.
    pub(super) fn cut(&mut self, id: SessionId) {
        self.order(id, Order::Cut);
        if !self.lose(id) {
            self.ended(id);
        }
    }

    pub(super) fn order(&mut self, id: SessionId, order: Order) {
        self.orders.push((id, order));
    }

    /// Writes an answer.
    pub(super) fn write(&mut self, id: SessionId, text: String) {
        self.keep(id, &text);
        if self.sessions.get(&id).is_some_and(|session| session.stall != Some(Stall::Dead) && !session.away) {
            self.order(id, Order::Write(text));
            self.ask(id);
        }
    }

    /// Writes a message nobody asked for; whether the link lets it through, or the session keeps it.
    pub(super) fn notify(&mut self, id: SessionId, text: String) -> bool {
        let Some((stall, away)) = self.sessions.get(&id).map(|session| (session.stall, session.away)) else {
            return false;
        };
        let kept = stall != Some(Stall::Deaf) && self.keep(id, &text);
        let open = stall.is_none() && !away;
        if open {
            self.order(id, Order::Write(text));
            self.ask(id);
        }
        open || kept
    }

    /// Takes the orders given since the last call, in order.
    pub(super) fn orders(&mut self) -> Vec<(SessionId, Order)> {
        std::mem::take(&mut self.orders)
    }

    pub(super) fn schedule(&mut self, due: Moment, deed: Deed) {
        self.last += 1;
        self.deeds.insert(self.last, deed);
        self.agenda.push(Reverse((due, self.last)));
    }

    /// When [`Switchboard::tick`] has something to do.
    pub(super) fn due(&self) -> Option<Moment> {
        self.agenda.peek().map(|Reverse((due, _))| *due)
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Moment) {
        while self.due().is_some_and(|due| due <= now) {
            let Some(Reverse((_, number))) = self.agenda.pop() else { return };
            match self.deeds.remove(&number) {
                Some(Deed::Decide { service, node, subid, grant }) => self.decide(&service, &node, &subid, grant, now),
                Some(Deed::Answer(id, text)) => self.write(id, text),
                Some(Deed::Deliver(notification)) => self.deliver(&notification, now),
                Some(Deed::Expire(id)) => self.expire(id),
                None => {}
            }
        }
    }

    pub(super) fn register(&mut self, id: SessionId, jid: &FullJid) {
        let resources = self.bound.entry(jid.to_bare()).or_default();
        resources.insert(jid.resource().as_str().to_owned(), (id, None));
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stage = Stage::Bound(jid.clone());
            self.observed.shook_hands(&mut session.shaking_hands);
        }
    }

    pub(super) fn present(&mut self, jid: &FullJid, priority: Option<i8>) {
        let resources = self.bound.get_mut(&jid.to_bare());
        if let Some((_, known)) = resources.and_then(|all| all.get_mut(jid.resource().as_str())) {
            *known = priority;
        }
    }

    pub(super) fn session_of(&self, jid: &FullJid) -> Option<SessionId> {
        Some(self.bound.get(&jid.to_bare())?.get(jid.resource().as_str())?.0)
    }

    pub(super) fn sessions_of(&self, jid: &BareJid) -> impl Iterator<Item = (SessionId, Option<i8>)> {
        self.bound.get(jid).into_iter().flatten().map(|(_, bound)| *bound)
    }

    /// Does the same to every session of `jid`.
    pub(super) fn each_session(&mut self, jid: &BareJid, act: impl Fn(&mut Self, SessionId)) {
        let sessions: Vec<_> = self.sessions_of(jid).map(|(id, _)| id).collect();
        for id in sessions {
            act(self, id);
        }
    }

    /// Makes a link half-dead until it is closed.
    pub(super) fn stall(&mut self, id: SessionId, stall: Stall) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stall = Some(stall);
        }
    }

    pub(super) fn end_deafness(&mut self) {
        for session in self.sessions.values_mut().filter(|session| session.stall == Some(Stall::Deaf)) {
            session.stall = None;
        }
    }

    pub(super) fn bound_jids(&self) -> impl Iterator<Item = &BareJid> {
        self.bound.keys()
    }

    pub(super) fn behaviour(&self, jid: &BareJid) -> &Behaviour {
        self.behaviours.get(jid).unwrap_or(&self.behaviour)
    }

    pub(super) fn change_behaviour(&mut self, jid: Option<&BareJid>, change: impl FnOnce(&mut Behaviour)) {
        match jid {
            Some(jid) => change(self.behaviours.entry(jid.clone()).or_insert_with(|| self.behaviour.clone())),
            None => change(&mut self.behaviour),
        }
    }

    pub(super) fn service_jid(&self, service: &str) -> String {
        format!("pubsub.{service}.{}", self.terms.services_domain)
    }

    /// Who may see the events of an address now.
    pub(super) fn holders(&self, address: &str, now: Moment) -> Vec<BareJid> {
        let mut all = self.authorizations.holders(address, now);
        if let Some(owner) = self.directory.owner(address)
            && !self.behaviour(&owner.jid).needs_authorization
            && !all.contains(&owner.jid)
        {
            all.push(owner.jid.clone());
        }
        all
    }

    /// The addresses whose events `jid` may see now.
    pub(super) fn visible(&self, jid: &BareJid, now: Moment) -> Vec<String> {
        let mut all: Vec<String> = self.authorizations.addresses(jid, now).map(str::to_owned).collect();
        if !self.behaviour(jid).needs_authorization
            && let Some(account) = self.directory.account(jid)
        {
            all.extend(account.addresses.iter().filter(|address| !all.contains(address)).cloned().collect::<Vec<_>>());
        }
        all
    }

    /// Counters.
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.sessions.values().filter(|session| !session.away).count()
    }

    /// Sessions whose connection is lost and that can be resumed.
    pub fn resumable(&self) -> usize {
        self.sessions.len() - self.connections()
    }

    /// Full JIDs bound now for `jid`.
    pub fn resources(&self, jid: &BareJid) -> Vec<String> {
        self.bound.get(jid).into_iter().flatten().map(|(resource, _)| resource.clone()).collect()
    }

    /// The priorities of the resources bound now for `jid`; `None` before presence.
    pub fn priorities(&self, jid: &BareJid) -> Vec<Option<i8>> {
        self.sessions_of(jid).map(|(_, priority)| priority).collect()
    }

    /// The end of the longest authorization `jid` has now.
    pub fn authorized_until(&self, jid: &BareJid, now: Moment) -> Option<Moment> {
        self.authorizations.until(jid, now)
    }
}
