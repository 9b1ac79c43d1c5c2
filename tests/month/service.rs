//! The service, as far as one account sees it: its authorization and its subscriptions (protocol sheet sections 4 to 6).
//!
//! Knows requests and time, nothing of the router.

use std::rc::Rc;

use onsip_router::protocol::requests::Reply;

use super::Time;

/// Subscriptions per node and JID (protocol sheet section 6.6).
const MOST: usize = 10;
/// What a grant is good for.
pub const HOUR: Time = 3_600_000_000;

/// Who asked, seen from the service: which component answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Account,
    Node(usize),
}

/// A request. `above`: of a node that redirects to the account's own; `until`: the lease asked for.
#[derive(Clone, Copy, Debug)]
pub enum Query {
    Authorize,
    Time,
    List { node: usize, above: bool },
    Items { node: usize, above: bool },
    Subscribe { node: usize, above: bool, until: Time },
    Renew { node: usize, subid: Option<u32>, until: Time },
    Unsubscribe { node: usize, subid: Option<u32> },
}

impl Query {
    pub fn asked(self) -> Asked {
        match self {
            Self::Authorize | Self::Time => Asked::Account,
            Self::List { node, .. }
            | Self::Items { node, .. }
            | Self::Subscribe { node, .. }
            | Self::Renew { node, .. }
            | Self::Unsubscribe { node, .. } => Asked::Node(node),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Time => "time",
            Self::List { .. } => "list",
            Self::Items { .. } => "items",
            Self::Subscribe { .. } => "subscribe",
            Self::Renew { .. } => "renew",
            Self::Unsubscribe { .. } => "unsubscribe",
        }
    }
}

/// An answer, before it is written as a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Authorized until then.
    Granted(Time),
    /// The time is this.
    Time(Time),
    /// The entries of this node.
    Entries(usize),
    /// There are no items.
    NoItems,
    /// `pending`, without a subid.
    Pending,
    /// A bare result.
    Done,
    /// An error: defined and specific condition.
    No(&'static str, &'static str),
    /// The node is elsewhere.
    Moved(usize),
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequel {
    Nothing,
    /// The owner decides about this entry.
    Decide(usize, u32),
    /// A message `none` about this node.
    Echo(usize),
}

/// What becomes of a request for items (protocol sheet section 6.9: nobody knows).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    Refused,
    Empty,
    /// None, and every third time not even an answer.
    Mute,
}

/// Where services differ, or nobody knows.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent of each other")]
pub struct Style {
    /// A renewal of any id succeeds while one subscription is approved (protocol sheet section 6.4).
    pub renews_anything: bool,
    /// An unsubscribe is echoed by a message `none`.
    pub echoes: bool,
    /// The end of the authorization ends the subscriptions (protocol sheet section 18, question 5).
    pub lapse_ends: bool,
    /// The cap counts all resources of the JID.
    pub counts_all: bool,
    /// An unauthorized subscribe is refused at once, and not by `none`.
    pub refuses_at_once: bool,
    /// Messages for nobody are kept until the next log-in (protocol sheet section 7.4).
    pub keeps_messages: bool,
    pub items: Items,
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Entry {
    pub subid: u32,
    /// Of the router's resource; all others are none of its business.
    pub own: bool,
    pub approved: bool,
    pub until: Time,
}

/// One node.
#[derive(Default)]
pub struct Shelf {
    pub entries: Vec<Entry>,
    /// The list as a stanza, until it changes.
    pub written: Option<Rc<Reply>>,
    /// Since when there has been no approved one of the router's.
    pub empty_since: Time,
    /// When something was changed behind the router's back.
    pub tampered: Option<Time>,
}

impl Shelf {
    pub fn own(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.own)
    }

    /// Changes the entries.
    pub fn change(&mut self, now: Time, change: impl FnOnce(&mut Vec<Entry>)) {
        let before = self.own().any(|entry| entry.approved);
        change(&mut self.entries);
        self.written = None;
        if before && !self.own().any(|entry| entry.approved) {
            self.empty_since = now;
        }
    }

    /// Since when nothing is delivered for want of an approved entry whose lease lasts.
    fn dark_since(&self, now: Time) -> Option<Time> {
        let end = self.own().filter(|entry| entry.approved).map(|entry| entry.until).max();
        match end {
            None => Some(self.empty_since),
            Some(end) => (end <= now).then_some(end),
        }
    }
}

/// What the service knows of one account.
pub struct Service {
    pub style: Style,
    pub shelves: Vec<Shelf>,
    pub authorized_until: Time,
    /// The last grant as a stanza.
    pub grant_written: Option<Rc<Reply>>,
    last_subid: u32,
}

/// What the router did and must not.
pub type Breach = &'static str;

impl Service {
    pub fn new(style: Style, nodes: usize) -> Self {
        Self {
            style,
            shelves: (0..nodes).map(|_| Shelf::default()).collect(),
            authorized_until: 0,
            grant_written: None,
            last_subid: 0x50_8B00,
        }
    }

    /// Since when a list has shown none of ours that is approved.
    pub fn gone_since(&self, node: usize) -> Option<Time> {
        let board = &self.shelves[node];
        (!board.own().any(|entry| entry.approved)).then_some(board.empty_since)
    }

    /// Since when events of this node would not be sent.
    pub fn dark_since(&self, node: usize, now: Time) -> Option<Time> {
        let lapsed = (self.authorized_until <= now).then_some(self.authorized_until);
        self.shelves[node].dark_since(now).into_iter().chain(lapsed).min()
    }

    pub fn enter(&mut self, node: usize, own: bool, approved: bool, until: Time, now: Time) -> u32 {
        self.last_subid += 1;
        let subid = self.last_subid;
        self.shelves[node].change(now, |entries| entries.push(Entry { subid, own, approved, until }));
        subid
    }

    /// Answers a request. `good_password`: as the portal has it at the moment.
    pub fn serve(&mut self, query: Query, good_password: bool, now: Time) -> Result<(Answer, Sequel), Breach> {
        let plain = |answer| Ok((answer, Sequel::Nothing));
        match query {
            Query::Authorize if good_password => plain(self.grant(now)),
            Query::Authorize => plain(Answer::No("bad-request", "bad-action")),
            Query::Time => plain(Answer::Time(now)),
            Query::List { node, above: true }
            | Query::Items { node, above: true }
            | Query::Subscribe { node, above: true, .. } => plain(Answer::Moved(node)),
            Query::Items { .. } if self.style.items == Items::Refused => {
                plain(Answer::No("feature-not-implemented", "unsupported"))
            }
            Query::Items { .. } => plain(Answer::NoItems),
            Query::List { node, above: false } => plain(Answer::Entries(node)),
            Query::Subscribe { node, above: false, until } => self.subscribe(node, until, now),
            Query::Renew { node, subid, until } => {
                self.renew(node, subid, until).map(|answer| (answer, Sequel::Nothing))
            }
            Query::Unsubscribe { node, subid } => self.unsubscribe(node, subid, now),
        }
    }

    fn grant(&mut self, now: Time) -> Answer {
        if self.style.lapse_ends && self.authorized_until <= now {
            for board in &mut self.shelves {
                board.change(now, |entries| entries.retain(|entry| !entry.own));
            }
        }
        self.authorized_until = (now + HOUR) / 1_000_000 * 1_000_000;
        Answer::Granted(self.authorized_until)
    }

    fn subscribe(&mut self, node: usize, until: Time, now: Time) -> Result<(Answer, Sequel), Breach> {
        let board = &self.shelves[node];
        if board.own().next().is_some() && board.tampered.is_none_or(|at| at + 60_000_000 < now) {
            return Err("a new subscription was asked for while one of ours is there");
        }
        if board.own().any(|entry| !entry.approved) {
            return Ok((Answer::No("not-authorized", "pending-subscription"), Sequel::Nothing));
        }
        let counted = board.entries.iter().filter(|entry| entry.own || self.style.counts_all).count();
        if counted >= MOST {
            return Ok((Answer::No("policy-violation", "too-many-subscriptions"), Sequel::Nothing));
        }
        if self.authorized_until <= now && self.style.refuses_at_once {
            return Ok((Answer::No("item-not-found", ""), Sequel::Nothing));
        }
        let subid = self.enter(node, true, false, until, now);
        Ok((Answer::Pending, Sequel::Decide(node, subid)))
    }

    fn renew(&mut self, node: usize, subid: Option<u32>, until: Time) -> Result<Answer, Breach> {
        let board = &mut self.shelves[node];
        let anything = self.style.renews_anything && board.entries.iter().any(|entry| entry.approved);
        let known = match subid {
            Some(subid) => board.entries.iter_mut().find(|entry| entry.subid == subid),
            None if board.own().count() > 1 => return Ok(Answer::No("bad-request", "subid-required")),
            None => board.entries.iter_mut().find(|entry| entry.own),
        };
        match known {
            Some(entry) if !entry.own => Err("a subscription of another resource was renewed"),
            Some(entry) if entry.approved => {
                entry.until = until;
                Ok(Answer::Done)
            }
            Some(_) | None if anything => Ok(Answer::Done),
            Some(_) | None => Ok(Answer::No("not-acceptable", "invalid-subid")),
        }
    }

    fn unsubscribe(&mut self, node: usize, subid: Option<u32>, now: Time) -> Result<(Answer, Sequel), Breach> {
        let board = &mut self.shelves[node];
        let place = match subid {
            Some(subid) => board.entries.iter().position(|entry| entry.subid == subid),
            None if board.own().count() > 1 => {
                return Ok((Answer::No("bad-request", "subid-required"), Sequel::Nothing));
            }
            None => board.entries.iter().position(|entry| entry.own),
        };
        let Some(place) = place else {
            return Ok((Answer::No("unexpected-request", "not-subscribed"), Sequel::Nothing));
        };
        if !board.entries[place].own {
            return Err("a subscription of another resource was removed");
        }
        board.change(now, |entries| {
            entries.remove(place);
        });
        Ok((Answer::Done, if self.style.echoes { Sequel::Echo(node) } else { Sequel::Nothing }))
    }

    /// The owner decides about a pending entry; tells which message follows.
    pub fn decide(&mut self, node: usize, subid: u32, granted: bool, now: Time) -> Option<&'static str> {
        let granted = granted && self.authorized_until > now;
        let board = &mut self.shelves[node];
        let place = board.entries.iter().position(|entry| entry.subid == subid && !entry.approved)?;
        board.change(now, |entries| {
            if granted {
                entries[place].approved = true;
            } else {
                entries.remove(place);
            }
        });
        Some(if granted { "subscribed" } else { "none" })
    }
}
