//! Legs that never end: looked for now and then, and ended in the same commits as everything else.

use std::sync::Arc;
use std::time::Duration;

use super::{Batch, Router};
use crate::domain::event::Event;
use crate::domain::identity::Token;
use crate::domain::leg::Leg;
use crate::domain::moment::Moment;
use crate::domain::service::{CALLS, Service};
use crate::protocol::legs::{Ages, Legs};
use crate::store::StoreError;
use actix::prelude::*;

/// Legs ended in one commit at most; the rest follows in the next.
const ROUND: u32 = 64;
/// The longest pause between two rounds.
const PAUSE: Duration = Duration::from_secs(30);
/// A leg from before the start is left alone for so long (or as long as it may ring): it may be there still, and the
/// service is asked first.
const GRACE: Duration = Duration::from_mins(2);

/// Which legs are stale.
#[derive(Clone, Debug)]
pub struct Stale {
    /// Domain below which the service is found.
    pub services_domain: String,
    /// How long a leg may go without a sign of life.
    pub ages: Ages,
}

/// Legs of calls that seemed stale when they were looked for.
#[derive(Clone)]
pub(super) struct Age {
    service: Service,
    pub(super) legs: Vec<Token>,
    ages: Ages,
    now: Moment,
}

impl Age {
    /// Ends those that still are.
    /// They were recalled as the clock reads at `reading`.
    pub(super) fn carry_out(&self, legs: &mut Legs, reading: Moment) -> Vec<Event> {
        let now = self.now.by(reading).utc();
        self.legs.iter().filter_map(|leg| legs.expire(leg, &self.service, self.ages, now)).collect()
    }
}

impl Router {
    /// Has the next round begin in a while.
    pub(super) fn age(&self, ctx: &mut Context<Self>) {
        let shorter = self.stale.ages.shorter();
        let grace = Moment::now().until(self.born + shorter.min(GRACE));
        ctx.run_later(grace.max(PAUSE.min(shorter / 2)), |this, ctx| this.look_for_stale(ctx));
    }

    fn look_for_stale(&self, ctx: &mut Context<Self>) {
        let (house, ages) = (Arc::clone(&self.house), self.stale.ages);
        let look = async move {
            let now = Moment::now();
            let (ringing, answered) = ages.limits(now.utc());
            house.metrics.legs_live(house.store.live(CALLS).await?);
            Ok((now, house.store.stale(CALLS, ringing, answered, ROUND).await?))
        };
        ctx.spawn(look.into_actor(self).map(|found: Result<_, StoreError>, this, ctx| match found {
            Ok((now, legs)) => this.end_stale(&legs, now, ctx),
            Err(fault) => {
                tracing::warn!(%fault, "stale legs could not be looked for");
                this.age(ctx);
            }
        }));
    }

    fn end_stale(&mut self, found: &[Leg], now: Moment, ctx: &mut Context<Self>) {
        let Stale { services_domain, ages } = self.stale.clone();
        let (false, Ok(service)) = (found.is_empty(), Service::new(CALLS, &services_domain)) else {
            return self.age(ctx);
        };
        let more = found.len() >= ROUND as usize;
        let legs = found.iter().map(|leg| leg.token.clone()).collect();
        let committed = self.take(Batch::Age(Age { service, legs, ages, now }), ctx);
        ctx.spawn(
            committed.into_actor(self).map(
                move |committed, this, ctx| {
                    if more && committed { this.look_for_stale(ctx) } else { this.age(ctx) }
                },
            ),
        );
    }
}
