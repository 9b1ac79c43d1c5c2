//! The canaries of a sink, in the queue like any other event. Must not know when one is due.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::step::Desk;
use super::{SinkActor, Wake};
use crate::domain::canary::Canary;
use crate::domain::moment::Moment;
use crate::store::{Commit, CommitEvent, Owed, Settlement, StoreError};

/// Between two looks at least.
const SHORTEST: Duration = Duration::from_millis(1);
/// Canaries that may wait at most: one, and some that an earlier version left.
const WAITING: usize = 16;

impl SinkActor {
    /// Sends canaries from now on, if any are wanted.
    pub(super) fn keep_canaries(&self, ctx: &mut Context<Self>) {
        let Desk { house, name, delivery, .. } = &*self.desk;
        house.metrics.canary_interval(name.as_str(), delivery.canary.unwrap_or_default());
        if let Some(every) = delivery.canary {
            self.send_canary(Canary::new(name.clone(), every, Moment::now()), ctx);
        } else {
            // One of an earlier configuration would be owed until an event passes, and count as late.
            let desk = Arc::clone(&self.desk);
            let dropped = async move { (desk.drop_canaries().await, desk) };
            ctx.spawn(dropped.into_actor(self).map(|(dropped, desk), _, _| {
                if let Err(fault) = dropped {
                    tracing::debug!(sink = %desk.name, %fault, "a canary that nobody wants any more could not be removed");
                }
            }));
        }
    }

    fn send_canary(&self, mut canary: Canary, ctx: &mut Context<Self>) {
        let desk = Arc::clone(&self.desk);
        let sent = async move {
            let sent = desk.commit_canary(&mut canary).await;
            (canary, sent)
        };
        ctx.spawn(sent.into_actor(self).map(|(canary, sent), this, ctx| {
            match sent {
                Ok(true) => ctx.notify(Wake),
                Ok(false) => {}
                Err(StoreError::Closed) => return, // the end
                Err(fault) => {
                    this.desk.house.store_failed(&fault);
                    tracing::debug!(sink = %this.desk.name, %fault, "a canary could not be written");
                }
            }
            let wait = Moment::now().until(canary.due()).max(SHORTEST);
            ctx.run_later(wait, move |this, ctx| this.send_canary(canary, ctx));
        }));
    }
}

impl Desk {
    /// Returns the positions of the canaries that are still owed.
    async fn waiting_canaries(&self) -> Result<Vec<i64>, StoreError> {
        let partition = Canary::partition_of(&self.name);
        let waiting = self.house.store.of_calls(&self.name, &[partition.into()], WAITING).await?;
        Ok(waiting.iter().map(|owed| owed.position).collect())
    }

    /// Removes the canaries that are still owed.
    async fn drop_canaries(&self) -> Result<(), StoreError> {
        let waiting = self.waiting_canaries().await?;
        if !waiting.is_empty() {
            self.house.store.discard(&self.name, waiting).await?;
        }
        Ok(())
    }

    /// Commits the canary that is due. It takes the place of one that is still owed, if nothing else is; among other events
    /// that one keeps its place, for it may be the only one of them that the sink takes. Says whether it committed any.
    async fn commit_canary(&self, canary: &mut Canary) -> Result<bool, StoreError> {
        if Moment::now() < canary.due() {
            return Ok(false);
        }
        let (store, partition) = (&self.house.store, canary.partition());
        let waiting = self.waiting_canaries().await?;
        if !waiting.is_empty() {
            if store.depth(&self.name).await?.events > waiting.len() as u64 {
                canary.pass_over(Moment::now());
                return Ok(false);
            }
            store.discard(&self.name, waiting.clone()).await?;
        }
        let Some(event) = canary.next(!waiting.is_empty(), Moment::now()) else { return Ok(false) };
        let event = CommitEvent {
            id: event.id.clone(),
            partition,
            received: event.received_at(),
            body: serde_json::to_string(&event).unwrap_or_default().into(),
            owed: vec![self.name.clone()],
        };
        store.commit(Commit { events: vec![event], ..Commit::default() }).await?;
        Ok(true)
    }

    /// What the queue must remember of a canary that was tried. None becomes a dead letter: nobody would want it later,
    /// and a sink that refuses them would get one each time.
    pub(super) fn settle_canary(&self, owed: &Owed, settlement: Settlement, now: Moment) -> Settlement {
        match settlement {
            Settlement::Delivered => {
                let time = now.utc().duration_since(owed.received).try_into().unwrap_or_default();
                self.house.metrics.canary(self.name.as_str(), time, now.utc());
                Settlement::Delivered
            }
            Settlement::Dead { reason } => {
                tracing::warn!(sink = %self.name, why = reason, "the sink does not take its canary");
                Settlement::Delivered
            }
            Settlement::Retried => Settlement::Retried,
        }
    }
}
