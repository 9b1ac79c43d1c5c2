//! The end that is asked for: our own subscription is removed at the service (protocol sheet section 17, rule 31).
//!
//! Must not know whether the router stops or only this account goes.

use super::answers::count_removed;
use super::phase::{Ask, Phase, Why};
use super::{Command, Subscription};
use crate::domain::moment::Moment;
use crate::domain::name::Subid;
use crate::protocol::requests::Reply;
use crate::protocol::stanza::{Listed, Request};

impl Subscription {
    /// Remove what is ours at the service and do nothing else from now on; done when [`Self::has_left`] says so.
    ///
    /// Without a connection there is nobody to tell: the lease ends by itself. A request under way is waited for, since
    /// its answer may be a new subscription.
    pub fn leave(&mut self, now: Moment) -> Vec<Command> {
        self.leaving = true;
        let commands = match (&self.phase, self.held.as_ref().and_then(|held| held.subid.clone())) {
            (Phase::Offline | Phase::Asking(_), _) => Vec::new(),
            (Phase::Holding { .. }, Some(subid)) => self.remove(vec![Some(subid)]),
            // One that waits for its approval has often no id that we know.
            (Phase::Holding { .. } | Phase::Pending { .. } | Phase::Pausing, _) => self.list(Why::Leaving),
        };
        self.conclude(commands, now)
    }

    /// Whether a [`Self::leave`] is over: nothing of ours is left that could still be removed.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.leaving && matches!(self.phase, Phase::Offline)
    }

    /// An answer while leaving. Whatever else was under way, the list says what there is.
    pub(super) fn left(&mut self, ask: &Ask, reply: &Reply) -> Vec<Command> {
        match (ask, reply) {
            (Ask::Leave { rest }, reply) => {
                let mut commands = count_removed(reply);
                if rest.is_empty() && reply.is_ok() {
                    self.held = None;
                }
                commands.extend(self.remove(rest.clone()));
                commands
            }
            (Ask::List(_), Ok(list)) => {
                let Some(own) = &self.own else { return Vec::new() };
                let ours: Vec<_> = Listed::read(list).into_iter().filter(|entry| entry.is_of(own)).collect();
                let ours = ours.into_iter().filter(|entry| entry.state != "none").map(|entry| entry.subid);
                let ours: Vec<_> = ours.collect();
                if ours.is_empty() {
                    self.held = None;
                }
                self.remove(ours)
            }
            // Without a list, what we remember is removed.
            (Ask::List(Why::Leaving), Err(_)) => {
                let held = self.held.as_ref().and_then(|held| held.subid.clone());
                self.remove(held.map(Some).into_iter().collect())
            }
            (
                Ask::List(_)
                | Ask::Subscribe { .. }
                | Ask::Renew { .. }
                | Ask::Remove { .. }
                | Ask::Clear { .. }
                | Ask::Withdraw { .. }
                | Ask::Items,
                _,
            ) => self.list(Why::Leaving),
        }
    }

    fn remove(&mut self, mut rest: Vec<Option<Subid>>) -> Vec<Command> {
        let Some(subid) = rest.pop() else { return Vec::new() };
        let request = Request::Unsubscribe { node: self.via.clone(), subid };
        self.ask(Ask::Leave { rest }, request)
    }
}
