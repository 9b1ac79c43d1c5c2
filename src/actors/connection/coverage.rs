//! Whether the account's events arrive: what its subscriptions tell, its authorization, and links that deliver nothing.

use std::sync::Arc;

use actix::prelude::*;
use jiff::Timestamp;

use super::{Connection, nodes_of};
use crate::actors::chronicle;
use crate::actors::router::{Cover, read_coverage};
use crate::actors::subscription::{Lapsed, Reauthorized};
use crate::domain::moment::Moment;
use crate::domain::name::{NodeName, Subid};
use crate::domain::service::Service;
use crate::domain::status::GapReason;
use crate::protocol::coverage::{Change, Coverage, Delivery};
use crate::protocol::link::Loss;
use crate::store;

/// How a subscription stands now.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Standing {
    /// Where the node is.
    pub service: Service,
    /// The node.
    pub node: NodeName,
    /// The subid, if it has one.
    pub subid: Option<Subid>,
    /// Whether its events arrive.
    pub delivery: Delivery,
    /// Why they do not, if they do not.
    pub reason: GapReason,
    /// Since when, if it was found out only later.
    pub since: Option<Timestamp>,
}

/// The link answers no listing any more, though it may answer pings.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deaf {
    /// When it last did: what was to be delivered since may be missing.
    pub since: Option<Timestamp>,
}

/// The service ended a subscription.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ended;

impl Connection {
    /// Goes on with the window that was written down, or begins one.
    pub(super) fn recall_coverage(&mut self, written: Option<store::Coverage>, ctx: &mut Context<Self>) {
        let blind = match &written {
            Some(written) => read_coverage(written).window(Moment::now().utc()),
            None => chronicle::first_window(&self.house, &self.name),
        };
        self.coverage = Coverage::of(nodes_of(&self.account), blind);
        chronicle::begun(&self.house, &self.name, blind);
        if written.is_some_and(|written| written.open || written.until != blind.since) {
            // The actor before this one died, and what nobody ends would be taken for covered; or the clock was set back.
            self.cover(Some(Change::Uncovered { since: blind.since, reason: blind.reason }), ctx);
        }
    }

    /// Has a change of the account's coverage shown and written down.
    pub(super) fn cover(&self, change: Option<Change>, ctx: &mut Context<Self>) {
        ctx.spawn(self.cover_until_written(change).into_actor(self));
    }

    /// Shows a change of the account's coverage; the future ends once it is written down.
    pub(super) fn cover_until_written(&self, change: Option<Change>) -> impl Future<Output = ()> + use<> {
        let cover = change.map(|change| {
            chronicle::coverage(&self.house, &self.name, &change);
            Cover { account: self.name.clone(), change }
        });
        let house = Arc::clone(&self.house);
        async move {
            if let Some(cover) = cover {
                house.commit(cover).await; // one that is never committed is told as a gap after the next start
            }
        }
    }

    /// Has the heartbeat of coverage take this session for the account's.
    pub(super) fn show_pulse(&self) {
        if let Some(live) = &self.live {
            self.house.pulses().insert(self.name.clone(), Arc::clone(&live.pulse));
        }
    }

    /// A server that answers pings, and no requests, may deliver nothing.
    pub(super) fn feel_pulse(&self) {
        if let Some(live) = &self.live {
            live.pulse.doubt(self.requests.doubted());
        }
    }

    /// The authorization may have run out: from then on nothing is sure to be delivered.
    pub(super) fn see_lapse(&mut self, ctx: &mut Context<Self>) {
        let Some(since) = self.machine.lapsed().filter(|_| !self.coverage.has_lapsed()) else { return };
        let change = self.coverage.lapse(since.by(Moment::now()).utc());
        self.cover(change, ctx);
        self.tell_all(|| Lapsed, ctx);
    }

    pub(super) fn authorized_again(&mut self, lapsed: bool, ctx: &mut Context<Self>) {
        self.coverage.authorized();
        self.tell_all(|| Reauthorized { lapsed }, ctx);
    }
}

impl Handler<Standing> for Connection {
    type Result = ();
    fn handle(&mut self, standing: Standing, ctx: &mut Context<Self>) {
        if self.stopping {
            return; // what is told of a subscription that is left is no loss
        }
        let Standing { service, node, subid, delivery, reason, since } = standing;
        if !self.subscriptions.iter().any(|(s, n, _)| *s == service && *n == node) {
            return; // of a node that is not wanted any more
        }
        let at = since.unwrap_or_else(|| Moment::now().utc());
        let change = self.coverage.changed(&service, &node, delivery, reason, at);
        self.cover(change, ctx);
        self.subids.retain(|(s, n, _)| !(*s == service && *n == node));
        self.subids.extend(subid.map(|subid| (service, node, subid)));
        if let Some(reception) = &self.reception {
            self.receive_as(reception.own.clone());
        }
    }
}

impl Handler<Ended> for Connection {
    type Result = ();
    fn handle(&mut self, _: Ended, ctx: &mut Context<Self>) {
        let commands = self.machine.doubted(self.now());
        self.carry_out(commands, ctx);
    }
}

impl Handler<Deaf> for Connection {
    type Result = ();
    fn handle(&mut self, Deaf { since }: Deaf, ctx: &mut Context<Self>) {
        // Several nodes may notice; one of them ends the session, and a new one is nobody's fault.
        if self.stopping || self.machine.own().is_none() || self.live.take().is_none() {
            return;
        }
        // Nothing of it is resumed: what it did not deliver so far it will not deliver later.
        self.down(&Loss::Timeout, since.unwrap_or(self.heard), None, ctx);
    }
}
