//! Subscriptions that this router made under resources the server had assigned in place of the one asked for.
//!
//! Only what the ledger shows is ever touched (interface section 6, promise 5): exactly this full JID and exactly this id,
//! made by us. They go once the new one delivers, or before it is made if there is no room for it.

use xmpp_parsers::jid::FullJid;

use super::answers::count_removed;
use super::phase::Ask;
use super::verdict::{self, Verdict};
use super::{Command, Subscription};
use crate::domain::moment::Moment;
use crate::domain::name::Subid;
use crate::protocol::requests::Reply;
use crate::protocol::stanza::{Listed, Request};

/// Subscriptions one JID may have on one node, whatever their resources (protocol sheet section 6.6).
const LIMIT: usize = 10;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The full JID that holds it.
    pub jid: FullJid,
    /// Its id.
    pub subid: Subid,
}

/// What is known of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers {
    /// The full JID that is asked for; none: whatever is bound is taken as asked for.
    asked: Option<FullJid>,
    /// Under which full JID we made the subscription that is held, if we did.
    pub(super) made: Option<FullJid>,
    /// As the ledger has them.
    recorded: Vec<Leftover>,
    /// Those that the newest list showed, the oldest last.
    listed: Vec<Leftover>,
    /// Whether the newest list was full.
    crowded: bool,
}

impl Subscription {
    /// The same, bound as `asked` unless the server assigns another resource; `recorded` is what the ledger has of earlier
    /// ones.
    #[must_use]
    pub fn asking_for(mut self, asked: FullJid, recorded: Vec<Leftover>) -> Self {
        self.leftovers = Leftovers { asked: Some(asked), recorded, ..Leftovers::default() };
        self
    }

    /// Whether the subscription that is held was made by us under a resource that the server had assigned: to be recorded.
    #[must_use]
    pub fn holds_assigned(&self) -> bool {
        let Leftovers { asked, made, .. } = &self.leftovers;
        let named = self.held.as_ref().is_some_and(|held| held.subid.is_some());
        named && made.is_some() && *made == self.own && asked.is_some() && *asked != self.own
    }

    /// Another resource is bound from now on.
    pub(super) fn leave_behind(&mut self) {
        let subid = self.held.as_ref().and_then(|held| held.subid.clone());
        if self.holds_assigned()
            && let (Some(jid), Some(subid)) = (self.own.clone(), subid)
        {
            self.leftovers.recorded.retain(|one| one.jid != jid);
            self.leftovers.recorded.push(Leftover { jid, subid });
        }
        self.leftovers.made = None;
    }

    /// A list shows which of them are still there. Those that are gone are forgotten.
    pub(super) fn see_leftovers(&mut self, listed: &[Listed], own: &FullJid) -> Vec<Command> {
        let live = || listed.iter().filter(|entry| entry.state != "none");
        let there =
            |one: &Leftover| live().any(|entry| entry.is_of(&one.jid) && entry.subid.as_ref() == Some(&one.subid));
        let whole = self.via == self.terms.node; // elsewhere, an earlier one need not be listed
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.leftovers.recorded).into_iter().partition(|one| !whole || there(one));
        let of_others = |one: &&Leftover| one.jid != *own;
        self.leftovers.listed = kept.iter().filter(of_others).filter(|one| there(one)).rev().cloned().collect();
        self.leftovers.recorded = kept;
        self.leftovers.crowded = live().count() >= LIMIT;
        gone.into_iter().filter(|one| one.jid != *own).map(|one| Command::Forget(one.jid)).collect()
    }

    /// Whether the ledger shows that we made the one with this id, under the JID we have now.
    pub(super) fn is_recorded(&self, subid: Option<&Subid>) -> bool {
        let Some(own) = &self.own else { return false };
        self.leftovers.recorded.iter().any(|one| one.jid == *own && Some(&one.subid) == subid)
    }

    /// Removes the next of those listed.
    pub(super) fn clear(&mut self) -> Option<Vec<Command>> {
        let leftover = self.leftovers.listed.pop()?;
        Some(self.remove_leftover(leftover, false))
    }

    /// Removes one where there is no room for a new one.
    pub(super) fn make_room(&mut self, refused: bool) -> Option<Vec<Command>> {
        let leftover = if refused || self.leftovers.crowded { self.leftovers.listed.pop()? } else { return None };
        Some(self.remove_leftover(leftover, true))
    }

    fn remove_leftover(&mut self, leftover: Leftover, for_room: bool) -> Vec<Command> {
        let Leftover { jid, subid } = leftover.clone();
        let request = Request::UnsubscribeOther { node: self.via.clone(), jid, subid };
        self.ask(Ask::Clear { leftover, for_room }, request)
    }

    /// The answer to the removal of one.
    pub(super) fn cleared(&mut self, reply: &Reply, leftover: Leftover, for_room: bool, now: Moment) -> Vec<Command> {
        let gone =
            reply.as_ref().map_or_else(|why| verdict::of_renewing(why, &self.terms.service) == Verdict::Gone, |_| true);
        let mut commands = count_removed(reply);
        if gone {
            self.leftovers.recorded.retain(|one| *one != leftover);
            self.leftovers.crowded = false;
            commands.push(Command::Forget(leftover.jid));
        }
        let room = if for_room && !gone { self.make_room(true) } else { None };
        commands.extend(match room {
            Some(next) => next,
            None if for_room => self.subscribe(now),
            None => self.settle(Vec::new(), now),
        });
        commands
    }
}
