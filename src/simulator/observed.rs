//! What the service saw: counters and times for tests to ask and to wait for. Bounded.

use std::collections::{HashMap, VecDeque};

use crate::domain::BareJid;
use crate::domain::moment::Moment;

/// Times kept, per account and kind of request; older ones are only counted.
const MOST_TIMES: usize = 256;

/// Accounts that are counted; further ones are not.
const MOST_ACCOUNTS: usize = 100_000;

/// A kind of request an account makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A log-in whose password (or script) was judged.
    Login,
    /// Resource binding.
    Bind,
    /// Resumption of a lost session (XEP-0198), granted or not.
    Resume,
    /// Presence, available or not.
    Presence,
    /// `authorize-plain`.
    Authorize,
    /// XEP-0202.
    Time,
    /// Listing subscriptions.
    List,
    /// Subscribe.
    Subscribe,
    /// Setting subscription options.
    Options,
    /// Unsubscribe.
    Unsubscribe,
    /// Asking for items.
    Items,
    /// XEP-0199.
    Ping,
    /// An answer to something we asked, e.g. a ping that was injected.
    Answer,
    /// A message; a client of this service has no reason to send one.
    Message,
    /// Any other request.
    Unknown,
}

/// Requests of one kind of one account.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// How many there were.
    pub count: u64,
    /// When, the latest last; only the most recent are kept.
    pub times: VecDeque<Moment>,
}

/// Counters of the whole service.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Connections accepted since the start.
    pub connections_ever: u64,
    /// When the most recent ones were accepted, the latest last.
    pub connection_times: VecDeque<Moment>,
    /// Connections now between their first byte and a bound resource or a refusal.
    pub handshakes: usize,
    /// The most of them at once so far.
    pub most_handshakes: usize,
    /// Log-ins that ended in a bound resource.
    pub logins: u64,
    /// Acknowledgements heard (XEP-0198), whatever they said.
    pub acknowledgements: u64,
    /// Lost sessions that were resumed.
    pub resumed: u64,
    /// `subscribed` messages sent.
    pub approvals: u64,
    /// `none` messages sent.
    pub denials: u64,
    /// Items and retracts published.
    pub published: u64,
    /// Notifications handed to a session.
    pub delivered: u64,
    /// Notifications nobody was there to take.
    pub undelivered: u64,
    /// Stream errors `conflict` sent.
    pub conflicts: u64,
    /// Connections dropped because they did not read what was sent.
    pub overflows: u64,
    requests: HashMap<BareJid, HashMap<Request, Requests>>,
}

impl Observed {
    pub(super) fn connected(&mut self, now: Moment) {
        self.connections_ever += 1;
        push(&mut self.connection_times, now);
        self.handshakes += 1;
        self.most_handshakes = self.most_handshakes.max(self.handshakes);
    }

    /// A connection is bound, refused or gone; `before` says whether it was in its handshake until then, and no longer is.
    pub(super) fn shook_hands(&mut self, before: &mut bool) {
        if std::mem::take(before) {
            self.handshakes = self.handshakes.saturating_sub(1);
        }
    }

    pub(super) fn saw(&mut self, jid: &BareJid, request: Request, now: Moment) {
        if self.requests.len() >= MOST_ACCOUNTS && !self.requests.contains_key(jid) {
            return;
        }
        let requests = self.requests.entry(jid.clone()).or_default().entry(request).or_default();
        requests.count += 1;
        push(&mut requests.times, now);
    }

    /// The requests of one kind `jid` has made.
    pub fn requests(&self, jid: &BareJid, request: Request) -> Requests {
        self.requests.get(jid).and_then(|all| all.get(&request)).cloned().unwrap_or_default()
    }

    /// How many requests of one kind `jid` has made.
    pub fn count(&self, jid: &BareJid, request: Request) -> u64 {
        self.requests.get(jid).and_then(|all| all.get(&request)).map_or(0, |requests| requests.count)
    }

    /// How many requests of one kind all accounts have made.
    pub fn total(&self, request: Request) -> u64 {
        self.requests.values().filter_map(|all| all.get(&request)).map(|requests| requests.count).sum()
    }
}

fn push(times: &mut VecDeque<Moment>, now: Moment) {
    if times.len() == MOST_TIMES {
        times.pop_front();
    }
    times.push_back(now);
}
