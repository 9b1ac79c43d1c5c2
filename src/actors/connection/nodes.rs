//! The nodes of an account: its subscription actors.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::future::join_all;
use tokio::time::timeout;
use xmpp_parsers::jid::FullJid;

use super::{Connection, nodes_of, services_of};
use crate::actors::chronicle::Subject;
use crate::actors::subscription::{Halt, Leave, Ready, Subscription};
use crate::config;
use crate::domain::moment::Moment;
use crate::domain::name::NodeName;
use crate::domain::service::Service;
use crate::domain::status::ActorKind;
use crate::protocol::coverage::Delivery;
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

/// The account is to have the nodes of this configuration from now on; nothing else of it has changed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Want(pub Arc<config::Account>);

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
        delivery: Delivery,
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
        let actor = Subscription::new(house, subject, terms, probe, memory, asking, ctx.address());
        self.subscriptions.push((service, node, actor.expecting(delivery).start()));
    }

    /// Subscribes to a node while the account is running.
    fn subscribe_now(&self, service: Service, node: NodeName, delivery: Delivery, ctx: &mut Context<Self>) {
        let (house, name) = (Arc::clone(&self.house), self.name.clone());
        let ledger = async move { house.store.ledger_of(&name).await.unwrap_or_default() };
        ctx.spawn(ledger.into_actor(self).map(move |ledger, this, ctx| {
            if !nodes_of(&this.account).any(|wanted| wanted == (service.clone(), node.clone())) {
                return; // taken out again
            }
            this.subscribe(service, node, delivery, &ledger, ctx);
            if let (Some(own), Some((_, _, begun))) = (this.machine.serving(), this.subscriptions.last()) {
                ctx.spawn(begun.send(Ready(own)).into_actor(this).map(|_, _, _| ()));
            }
        }));
    }

    /// Unsubscribes from a node: what the service went on to send for it would still be for our JID.
    fn unsubscribe_now(&mut self, service: Service, node: NodeName, ctx: &mut Context<Self>) {
        let of = |s: &Service, n: &NodeName| *s == service && *n == node;
        self.subids.retain(|(s, n, _)| !of(s, n));
        let Some(at) = self.subscriptions.iter().position(|(s, n, _)| of(s, n)) else { return };
        let (_, _, subscription) = self.subscriptions.remove(at);
        let online = self.machine.serving().is_some();
        let left = async move {
            let left = timeout(LEAVING, subscription.send(Leave)).await.is_ok();
            let _ = subscription.send(Halt).await;
            left
        };
        ctx.spawn(left.into_actor(self).map(move |left, this, _| {
            if online && left {
                tracing::info!(account = %this.name, %service, %node, "unsubscribed: the node is not configured any more");
            } else {
                tracing::warn!(
                    account = %this.name, %service, %node,
                    "the node is not configured any more; its subscription is left at the service until its lease ends"
                );
            }
            if !this.subscriptions.iter().any(|(s, n, _)| *s == service && *n == node) {
                let key = (this.name.clone(), service.name().to_owned(), node);
                this.house.board.view().subscriptions.remove(&key);
            }
        }));
    }
}

impl Handler<Want> for Connection {
    type Result = ();
    fn handle(&mut self, Want(account): Want, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let before = std::mem::replace(&mut self.account, account);
        let (before, after): (BTreeSet<_>, BTreeSet<_>) =
            (nodes_of(&before).collect(), nodes_of(&self.account).collect());
        if let Some(live) = &self.live {
            live.services.send_replace(services_of(&self.account));
        }
        let now = Moment::now().utc();
        for (service, node) in before.difference(&after) {
            self.unsubscribe_now(service.clone(), node.clone(), ctx);
            let change = self.coverage.want(service, node, false, now);
            self.cover(change, ctx);
        }
        for (service, node) in after.difference(&before) {
            let change = self.coverage.want(service, node, true, now);
            self.cover(change, ctx);
            self.subscribe_now(service.clone(), node.clone(), Delivery::Added, ctx);
        }
        if let Some(reception) = &self.reception {
            self.receive_as(reception.own.clone());
        }
    }
}

impl Handler<SubscriptionDied> for Connection {
    type Result = ();
    fn handle(&mut self, died: SubscriptionDied, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let SubscriptionDied { service, node } = died;
        let is_it =
            |(s, n, actor): &(Service, NodeName, Addr<Subscription>)| *s == service && *n == node && !actor.connected();
        if !self.subscriptions.iter().any(is_it) {
            return; // it was to end
        }
        tracing::error!(account = %self.name, %service, %node, "a subscription actor died and is rebuilt");
        self.house.metrics.actor_restarted(ActorKind::Subscription);
        self.subscriptions.retain(|one| !is_it(one));
        self.subscribe_now(service, node, Delivery::Stopped, ctx);
    }
}
