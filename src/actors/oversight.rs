//! Watches the queue for sinks that no configuration has any more, and for what operators do to it beside the daemon.
//!
//! Nobody else looks after either: a sink actor knows only its own sink. Must not know how a sink delivers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::House;
use super::fleet::Fleet;
use crate::board::SinkStatus;
use crate::domain::name::SinkName;
use crate::domain::status::QueueAction;
use crate::store::{Depth, Done, StoreError};

/// How often it is looked.
pub(super) const OVERSIGHT: Duration = Duration::from_secs(1);

/// Remembers what was seen of the queue and already told.
#[derive(Debug, Default)]
pub(super) struct Oversight {
    /// Whether a look is under way.
    looks: bool,
    /// Sinks that are not configured and hold something, as far as that was said.
    told: BTreeSet<SinkName>,
}

impl Fleet {
    /// Looks at the queue, unless a look is under way.
    pub(super) fn oversee(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.oversight.looks, true) {
            return;
        }
        let house = Arc::clone(&self.house);
        let looked = async move { look(&house).await };
        ctx.spawn(looked.into_actor(self).map(|looked, this, _| {
            this.oversight.looks = false;
            match looked {
                Ok((held, done)) => {
                    for (sink, done) in done {
                        this.tell_done(&sink, done);
                    }
                    this.show_unconfigured(held);
                }
                Err(StoreError::Closed) => {}
                Err(fault) => tracing::debug!(%fault, "the queue could not be looked over"),
            }
        }));
    }

    /// Tells of what an operator did.
    fn tell_done(&self, sink: &SinkName, Done { retried, purged, purged_dead }: Done) {
        let counts =
            [(QueueAction::Retried, retried), (QueueAction::Purged, purged), (QueueAction::PurgedDead, purged_dead)];
        for (action, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            match action {
                QueueAction::Retried => {
                    tracing::info!(%sink, events = count, "dead letters are owed again: an operator said `queue retry`");
                }
                QueueAction::Purged => {
                    tracing::warn!(%sink, events = count, "owed events are gone and will not be delivered: an operator said `queue purge`");
                }
                QueueAction::PurgedDead => {
                    tracing::info!(%sink, events = count, "dead letters are gone: an operator said `queue purge`");
                }
            }
            if self.has_sink(sink) {
                self.house.metrics.operator(sink.as_str(), action, count);
            }
        }
    }

    /// Shows what is owed to sinks that are not configured, and says so of those that are new among them.
    fn show_unconfigured(&mut self, held: Vec<(SinkName, Depth)>) {
        // While something of a sink is under way its numbers are not final.
        let held: Vec<_> =
            held.into_iter().filter(|(sink, _)| !self.has_sink(sink) && !self.is_leaving(sink)).collect();
        for (sink, depth) in &held {
            if self.oversight.told.insert(sink.clone()) && depth.events > 0 {
                let (owed, dead, oldest) = (depth.events, depth.dead, depth.oldest.map(tracing::field::display));
                tracing::warn!(
                    %sink, owed, dead, oldest,
                    "a sink that is not configured is owed events: configure it again under its name to have them \
                     delivered; `queue list --sink {sink}` shows them, `queue purge --sink {sink} --all` removes them"
                );
            }
        }
        self.oversight.told.retain(|sink| held.iter().any(|(held, _)| held == sink));
        let mut view = self.house.board.view();
        view.sinks.retain(|_, status| status.is_configured());
        for (sink, depth) in held {
            let Depth { events, bytes, oldest, dead, .. } = depth;
            let status = SinkStatus { queued: events, bytes, oldest, dead, ..SinkStatus::not_configured() };
            view.sinks.insert(sink, status);
        }
    }
}

/// Returns what each sink that holds anything is owed, and what operators did.
async fn look(house: &House) -> Result<(Vec<(SinkName, Depth)>, Vec<(SinkName, Done)>), StoreError> {
    let done = house.store.serve_operators().await?.into_iter().collect();
    let mut held = Vec::new();
    for sink in house.store.holding().await? {
        let depth = house.store.depth(&sink).await?;
        if depth.events + depth.dead > 0 {
            held.push((sink, depth));
        }
    }
    Ok((held, done))
}
