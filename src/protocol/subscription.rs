//! One subscription: list, reuse or subscribe, wait for approval, renew, and notice the end (protocol sheet section 6).
//!
//! At most one request is under way. A new subscription is asked for only after a list that shows none of ours, so the
//! limit of 10 per node and JID is not reached by us; only entries of exactly our own full JID are ever touched. A
//! message never decides by itself: what it says is looked up in a list. Must not know how its requests are sent.

use std::time::Duration;

use jiff::Timestamp;
use xmpp_parsers::jid::FullJid;

use super::backoff::{Backoff, Dice};
use super::notification::Change;
use super::requests::{NoAnswer, Reply};
use super::stanza::Request;
use crate::domain::moment::Moment;
use crate::domain::name::{NodeName, Subid};
use crate::domain::service::Service;
use crate::domain::status::{ProbeOutcome, RenewalOutcome, ResyncOutcome, SubscriptionState};
use holding::{Held, Lease};
use leftovers::Leftovers;
use phase::{Ask, Pause, Phase, Said, Why};
use probe::Probe;

pub use leftovers::Leftover;
pub use verdict::moved;

mod answers;
mod entries;
mod holding;
mod leaving;
mod leftovers;
mod phase;
mod probe;
mod steps;
mod verdict;

#[cfg(test)]
mod tests;

/// What does not change while a subscription runs.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where the node is.
    pub service: Service,
    /// The configured node.
    pub node: NodeName,
    /// Lease asked for.
    pub lease: Duration,
    /// How long to wait for `subscribed` or `none` after `pending`.
    pub approval_timeout: Duration,
    /// Whether to ask what is there once events can arrive again (protocol sheet section 6.9).
    pub resync: bool,
}

/// What the ledger keeps, so that a restart finds its own again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Who holds the subscription.
    pub jid: FullJid,
    /// Its id, once known.
    pub subid: Option<Subid>,
    /// End of the lease; none where the service has no leases.
    pub lease_until: Option<Timestamp>,
    /// When it was last renewed or made.
    pub renewed: Option<Timestamp>,
}

/// Something to carry out, or to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send this to the service; exactly one [`Subscription::answered`] must follow.
    Send(Request),
    /// The state changed.
    Became(SubscriptionState, Option<String>),
    /// Something happened that is counted.
    Tell(Fact),
    /// The ledger's line of this full JID is of no use any more.
    Forget(FullJid),
}

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A subscription of our own was found and is used again.
    Reused,
    /// The service took a new subscription.
    Created,
    /// A subscription of our own was removed: one too many, a dead one, or the last at a stop that unsubscribes.
    Removed,
    /// A renewal ended so.
    Renewal(RenewalOutcome),
    /// The items there are were asked for.
    Resync(ResyncOutcome),
    /// It was looked up, or could not be renewed, and this was seen. [`ProbeOutcome::Unanswered`], which is told only of
    /// the second look in a row, means more: the link delivers nothing, and should be replaced.
    Probe(ProbeOutcome),
}

/// One subscription.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent notes of what is still to be done")]
pub struct Subscription {
    terms: Terms,
    /// The node redirects led to; the configured one at first.
    via: NodeName,
    hops: u32,
    own: Option<FullJid>,
    phase: Phase,
    held: Option<Held>,
    /// The service said something since the last list was asked for: ask for another.
    recheck: bool,
    /// The authorization was renewed while a request was under way: the lease is still to follow.
    refresh: bool,
    /// Events may have been missed since the service last said what is there.
    unsynced: bool,
    /// Nothing new is asked for before its end, whatever the phase.
    pause: Option<Pause>,
    last_loss: Option<Moment>,
    /// When the lease was asked for, and when to renew it.
    renewal: Option<(Moment, Moment)>,
    probe: Probe,
    leftovers: Leftovers,
    /// It is to be removed at the service, and nothing else any more.
    leaving: bool,
    dice: Dice,
    denied: Backoff,
    trouble: Backoff,
    reported: Option<(SubscriptionState, Option<String>)>,
}

impl Subscription {
    /// A subscription without a connection, with what the ledger remembers of it.
    #[must_use]
    pub fn new(terms: Terms, memory: Option<Memory>, now: Moment, dice: Dice) -> Self {
        let own = memory.as_ref().map(|memory| memory.jid.clone());
        let held = memory.filter(|memory| memory.subid.is_some()).map(|memory| Held {
            subid: memory.subid,
            lease: memory.lease_until.map_or(Lease::Unknown, |utc| Lease::Until(now.at_utc(utc))),
            renewed: memory.renewed.map(|utc| now.at_utc(utc)),
        });
        Self {
            via: terms.node.clone(),
            terms,
            hops: 0,
            own,
            phase: Phase::Offline,
            held,
            recheck: false,
            refresh: false,
            unsynced: true,
            pause: None,
            last_loss: None,
            renewal: None,
            probe: Probe::default(),
            leftovers: Leftovers::default(),
            leaving: false,
            dice,
            denied: Backoff::at_least(Pause::LEAST_AFTER_REFUSAL, Duration::from_mins(10)),
            // 2.5 s, 5 s, 10 s: three tries in the first 15 s, also counting the one that failed.
            trouble: Backoff::at_least(Duration::from_millis(2500), Duration::from_mins(1)),
            reported: None,
        }
    }

    /// The same, looked up at least every `interval` while it delivers (protocol sheet section 17, rule 13: a
    /// subscription may end without a word). Without this it is looked up only when it is renewed.
    #[must_use]
    pub fn probing(mut self, interval: Duration) -> Self {
        self.probe.interval = Some(interval);
        self
    }

    /// When a list of this session showed it last: what a silent end may have swallowed since is not known.
    #[must_use]
    pub fn seen(&self) -> Option<Moment> {
        self.probe.seen
    }

    /// When a list last showed that the service had ended it; its authorization may have ended with it.
    #[must_use]
    pub fn last_ended(&self) -> Option<Moment> {
        self.last_loss
    }

    /// Whether it delivers for all we know.
    #[must_use]
    pub fn delivers(&self, now: Moment) -> bool {
        matches!(self.state(now).0, SubscriptionState::Active | SubscriptionState::Renewing)
    }

    /// The account is connected as `own` and authorized.
    ///
    /// A refusal is waited out across connections; other trouble is not.
    pub fn ready(&mut self, own: FullJid, now: Moment) -> Vec<Command> {
        if self.leaving {
            return Vec::new();
        }
        if self.own.as_ref() != Some(&own) {
            self.leave_behind();
            self.held = None; // what another resource holds is not the one we need
        }
        self.own = Some(own);
        self.probe.forget();
        self.pause = self.pause.take().filter(|pause| pause.denied).map(Pause::shortened);
        let commands = if self.waits(now) { self.wait() } else { self.find() };
        self.conclude(commands, now)
    }

    /// The connection is gone. The service keeps the subscription; it is found again.
    pub fn suspended(&mut self, now: Moment) -> Vec<Command> {
        self.phase = Phase::Offline;
        self.recheck = false;
        self.refresh = false;
        self.conclude(Vec::new(), now)
    }

    /// The authorization was renewed: the lease follows (protocol sheet section 17, rule 15), and a refusal is worth
    /// another try before its time. If it had `lapsed`, events may have been missed though the lease lasted.
    pub fn reauthorized(&mut self, lapsed: bool, now: Moment) -> Vec<Command> {
        self.unsynced |= lapsed;
        let commands = match self.phase {
            Phase::Holding { .. } => self.renew(Vec::new(), false, now),
            Phase::Pausing => {
                self.pause = self.pause.take().map(Pause::shortened);
                if self.waits(now) { Vec::new() } else { self.find() }
            }
            Phase::Asking(
                Ask::List(Why::Approved | Why::Ended | Why::Renewed | Why::Probe { .. })
                | Ask::Remove { .. }
                | Ask::Clear { for_room: false, .. }
                | Ask::Items,
            ) => {
                self.refresh = true;
                Vec::new()
            }
            Phase::Offline | Phase::Asking(_) | Phase::Pending { .. } => Vec::new(),
        };
        self.conclude(commands, now)
    }

    /// A clock was set, ours or the service's: the lease that was asked for may end at another time than meant.
    pub fn clock_set(&mut self, now: Moment) -> Vec<Command> {
        let commands = match self.phase {
            Phase::Holding { .. } => self.renew(Vec::new(), false, now),
            Phase::Asking(_) | Phase::Pending { .. } => {
                self.refresh = true;
                Vec::new()
            }
            Phase::Offline | Phase::Pausing => Vec::new(),
        };
        self.conclude(commands, now)
    }

    /// The answer to the request under way; one that comes when none is, is of a session that is over.
    pub fn answered(&mut self, reply: &Reply, now: Moment) -> Vec<Command> {
        let Phase::Asking(ask) = self.phase.clone() else { return Vec::new() };
        self.phase = Phase::Offline;
        let commands = match ask {
            _ if matches!(reply, Err(NoAnswer::Disconnected)) => Vec::new(),
            ask if self.leaving => self.left(&ask, reply),
            Ask::List(why) => self.listed(reply, why, now),
            Ask::Subscribe { asked, said } => self.subscribed(reply, asked, said, now),
            Ask::Renew { asked, surplus, listed } => self.renewed(reply, asked, surplus, listed, now),
            Ask::Remove { surplus } => self.removed(reply, surplus, now),
            Ask::Clear { leftover, for_room } => self.cleared(reply, leftover, for_room, now),
            Ask::Withdraw { rest, why } => self.withdrawn(reply, rest, why, now),
            Ask::Items => self.synced(reply, now),
            Ask::Leave { .. } => Vec::new(), // only while leaving
        };
        self.conclude(commands, now)
    }

    /// The service told of a changed subscription. Attributes it leaves out are taken as ours.
    pub fn changed(&mut self, change: &Change, now: Moment) -> Vec<Command> {
        let Some(own) = &self.own else { return Vec::new() };
        let ours = change.jid.as_ref().is_none_or(|jid| FullJid::new(jid).is_ok_and(|jid| jid == *own));
        let here = change.node.as_ref().is_none_or(|node| *node == self.via || *node == self.terms.node);
        if !ours || !here {
            return Vec::new();
        }
        let commands = match change.state.as_str() {
            "subscribed" => self.told(Said::Subscribed, change.subid.as_ref()),
            "none" => self.told(Said::None, None),
            _ => Vec::new(),
        };
        self.conclude(commands, now)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) -> Vec<Command> {
        let commands = match self.phase {
            // The approval, or the message about it, is missing.
            Phase::Pending { until } if until <= now => self.list(Why::Overdue),
            Phase::Holding { .. } if self.held.as_ref().is_none_or(|held| !held.delivers(now)) => {
                self.trouble.reset(); // what it cost to renew does not delay what it costs to come back
                self.find()
            }
            Phase::Holding { renew_at } if renew_at <= now => self.renew(Vec::new(), false, now),
            Phase::Holding { .. } if self.probe.is_due(now) => self.list(Why::Probe { again: false }),
            Phase::Pausing if !self.waits(now) => self.find(),
            Phase::Offline | Phase::Asking(_) | Phase::Pending { .. } | Phase::Holding { .. } | Phase::Pausing => {
                Vec::new()
            }
        };
        self.conclude(commands, now)
    }

    /// When [`Self::tick`] next has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let lease_end = self.held.as_ref().and_then(Held::end);
        match self.phase {
            Phase::Offline => None,
            // Nothing to do but to tell that it does not deliver any more.
            Phase::Asking(_) => lease_end.filter(|_| self.reported_as_delivering()),
            Phase::Pending { until } => Some(until),
            Phase::Pausing => self.pause.as_ref().map(|pause| pause.until),
            Phase::Holding { renew_at } => [Some(renew_at), lease_end, self.probe.due].into_iter().flatten().min(),
        }
    }

    /// What the ledger should keep.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        let held = self.held.as_ref();
        Some(Memory {
            jid: self.own.clone()?,
            subid: held.and_then(|held| held.subid.clone()),
            lease_until: held.and_then(Held::end).map(Moment::utc),
            renewed: held.and_then(|held| held.renewed).map(Moment::utc),
        })
    }

    fn conclude(&mut self, mut commands: Vec<Command>, now: Moment) -> Vec<Command> {
        if self.leaving && !self.has_left() {
            return commands; // on the way out the last state stands until it is over
        }
        let state = self.state(now);
        self.unsynced |= !matches!(state.0, SubscriptionState::Active | SubscriptionState::Renewing);
        if self.reported.as_ref() != Some(&state) {
            commands.push(Command::Became(state.0, state.1.clone()));
            self.reported = Some(state);
        }
        commands
    }

    fn reported_as_delivering(&self) -> bool {
        matches!(self.reported, Some((SubscriptionState::Active | SubscriptionState::Renewing, _)))
    }

    fn state(&self, now: Moment) -> (SubscriptionState, Option<String>) {
        let lapsed = self.held.as_ref().is_some_and(|held| held.end().is_some_and(|end| end <= now));
        let delivers = self.held.as_ref().is_some_and(|held| held.delivers(now));
        let state = match &self.phase {
            Phase::Offline => SubscriptionState::Lost,
            Phase::Pending { .. } => SubscriptionState::Pending,
            Phase::Pausing => {
                let denied = self.pause.as_ref().is_some_and(|pause| pause.denied);
                let state = if denied { SubscriptionState::Denied } else { SubscriptionState::Lost };
                return (state, self.pause.as_ref().map(|pause| pause.why.clone()));
            }
            Phase::Asking(Ask::List(Why::Beginning | Why::Refused | Why::Overdue)) => SubscriptionState::Listing,
            Phase::Asking(Ask::Subscribe { .. } | Ask::Withdraw { .. } | Ask::Clear { for_room: true, .. }) => {
                SubscriptionState::Subscribing
            }
            Phase::Asking(_) | Phase::Holding { .. } if lapsed => {
                return (SubscriptionState::Lost, Some("the lease ran out".to_owned()));
            }
            Phase::Asking(Ask::Renew { .. }) => SubscriptionState::Renewing,
            Phase::Asking(
                Ask::List(Why::Approved | Why::Ended | Why::Renewed | Why::Probe { .. } | Why::Leaving)
                | Ask::Remove { .. }
                | Ask::Clear { .. }
                | Ask::Leave { .. }
                | Ask::Items,
            )
            | Phase::Holding { .. } => {
                if delivers {
                    SubscriptionState::Active
                } else {
                    SubscriptionState::Listing
                }
            }
        };
        (state, None)
    }
}
