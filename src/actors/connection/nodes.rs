//! The nodes of an account: its subscription actors.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::future::join_all;
use tokio::time::timeout;
use xmpp_parsers::jid::FullJid;

use super::Connection;
use crate::actors::chronicle::Subject;
use crate::actors::subscription::{Leave, Ready, Subscription};
use crate::domain::name::NodeName;
use crate::domain::service::Service;
use crate::domain::status::ActorKind;
use crate::protocol::subscription::{Leftover, Memory, Terms};
use crate::store::LedgerEntry;

/// A subscription actor is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SubscriptionDied {
    /// Where the node is.
    pub service: Service,
    /// The node.
    pub node: NodeName,
}

/// How long an account gets to remove its subscriptions; the goodbye must still fit behind it.
const LEAVING: Duration = Duration::from_secs(2);

impl Connection {
    /// Has every subscription removed at the service, and then says goodbye.
    pub(super) fn unsubscribe(&mut self, ctx: &mut Context<Self>) {
        let left = join_all(self.subscriptions.iter().map(|(_, _, subscription)| subscription.send(Leave)));
        ctx.spawn(timeout(LEAVING, left).into_actor(self).map(|left, this, ctx| {
            if left.is_err() {
                tracing::warn!(account = %this.name, "not every subscription could be removed in time");
            }
            if this.stopped.is_some() {
                this.say_goodbye(ctx);
            }
        }));
    }

    pub(super) fn tell_all<M>(&self, message: impl Fn() -> M, ctx: &mut Context<Self>)
    where
        M: Message<Result = ()> + Send + 'static,
        Subscription: Handler<M>,
    {
        for (_, _, subscription) in &self.subscriptions {
            ctx.spawn(subscription.send(message()).into_actor(self).map(|_, _, _| ()));
        }
    }

    pub(super) fn subscribe(
        &mut self,
        service: Service,
        node: NodeName,
        ledger: &[LedgerEntry],
        ctx: &mut Context<Self>,
    ) {
        let terms = Terms {
            service: service.clone(),
            node: node.clone(),
            lease: self.access.onsip.subscription_lease,
            approval_timeout: self.access.onsip.approval_timeout,
            resync: self.access.onsip.resync && service.kind().comes_and_goes(),
        };
        let asked = format!("{}/{}", self.account.jid, self.account.resource);
        let entry =
            ledger.iter().find(|entry| entry.service == service.name() && entry.node == node && entry.jid == asked);
        let memory = entry.and_then(|entry| {
            let (subid, lease_until, renewed) = (entry.subid.clone(), entry.lease_until, entry.renewed);
            Some(Memory { jid: FullJid::new(&entry.jid).ok()?, subid, lease_until, renewed })
        });
        let of_node = |entry: &&LedgerEntry| entry.service == service.name() && entry.node == node && entry.assigned;
        let leftovers = ledger
            .iter()
            .filter(of_node)
            .filter_map(|entry| Some(Leftover { jid: FullJid::new(&entry.jid).ok()?, subid: entry.subid.clone()? }));
        let asking = FullJid::new(&asked).ok().map(|asked| (asked, leftovers.collect()));
        let subject = Subject { account: self.name.clone(), service: service.clone(), node: node.clone() };
        let probe = self.access.onsip.probe_interval;
        let house = Arc::clone(&self.house);
        let actor = Subscription::new(house, subject, terms, probe, memory, asking, ctx.address()).start();
        self.subscriptions.push((service, node, actor));
    }
}

impl Handler<SubscriptionDied> for Connection {
    type Result = ();
    fn handle(&mut self, died: SubscriptionDied, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let SubscriptionDied { service, node } = died;
        tracing::error!(account = %self.name, %service, %node, "a subscription actor died and is rebuilt");
        self.house.metrics.actor_restarted(ActorKind::Subscription);
        self.subscriptions.retain(|(s, n, _)| !(*s == service && *n == node));
        let (house, name) = (Arc::clone(&self.house), self.name.clone());
        let ledger = async move { house.store.ledger_of(&name).await.unwrap_or_default() };
        ctx.spawn(ledger.into_actor(self).map(|ledger, this, ctx| {
            this.subscribe(service, node, &ledger, ctx);
            if let (Some(own), Some((_, _, rebuilt))) = (this.machine.serving(), this.subscriptions.last()) {
                ctx.spawn(rebuilt.send(Ready(own)).into_actor(this).map(|_, _, _| ()));
            }
        }));
    }
}
