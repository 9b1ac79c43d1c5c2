//! What the answers to our requests mean (protocol sheet section 6).

use super::entries::Entries;
use super::holding::{Held, Lease};
use super::phase::{Said, Why};
use super::verdict::{self, Verdict};
use super::{Command, Fact, Subscription};
use crate::domain::moment::Moment;
use crate::domain::name::Subid;
use crate::domain::status::{ProbeOutcome, RenewalOutcome, ResyncOutcome};
use crate::protocol::requests::{NoAnswer, Reply};
use crate::protocol::stanza::{Listed, SubscribeReply};

/// Why a subscription that nobody approved is taken back.
const NO_APPROVAL: &str = "no approval came";
/// Why one that cannot be renewed is.
const NOT_RENEWABLE: &str = "the service lists it and cannot renew it";

impl Subscription {
    /// The answer to a list request: the place where it is decided what there is.
    pub(super) fn listed(&mut self, reply: &Reply, why: Why, now: Moment) -> Vec<Command> {
        let list = match reply {
            Ok(list) => list,
            Err(refusal) => return self.not_listed(refusal, why, now),
        };
        let Some(own) = self.own.clone() else { return Vec::new() };
        let mut commands = self.see_leftovers(&Listed::read(list), &own);
        let known = self.held.as_ref().and_then(|held| held.subid.as_ref());
        let entries = Entries::read(list, &own, known);
        commands.extend(probed(why, if entries.keep.is_some() { ProbeOutcome::Found } else { ProbeOutcome::Missing }));
        commands.extend(self.found(entries, why, now));
        commands
    }

    fn found(&mut self, entries: Entries, why: Why, now: Moment) -> Vec<Command> {
        match entries {
            Entries { keep: Some(entry), surplus, .. } => {
                self.keep(entry);
                self.probe.saw(&mut self.dice, now);
                if why == Why::Beginning {
                    let mut commands = vec![Command::Tell(Fact::Reused)];
                    commands.extend(self.renew(surplus, true, now));
                    return commands;
                }
                self.settle(surplus, now)
            }
            Entries { pending, .. } if !pending.is_empty() => match why {
                Why::Overdue => self.withdraw(pending, NO_APPROVAL, now),
                Why::Approved | Why::Refused => self.pending(now),
                Why::Beginning | Why::Ended | Why::Renewed | Why::Probe { .. } | Why::Leaving => {
                    self.held = None;
                    self.pending(now)
                }
            },
            Entries { .. } => match why {
                Why::Beginning => {
                    self.held = None;
                    self.make_room(false).unwrap_or_else(|| self.subscribe(now))
                }
                Why::Approved => self.lose("approved, but not listed", now),
                Why::Ended | Why::Renewed | Why::Leaving => self.lose("the service ended it", now),
                Why::Probe { .. } => self.lose("the service ended it without a word", now),
                Why::Refused => self.turn_away("the service answered none".to_owned(), now),
                Why::Overdue => self.turn_away("the service dropped the request without a word".to_owned(), now),
            },
        }
    }

    fn not_listed(&mut self, refusal: &NoAnswer, why: Why, now: Moment) -> Vec<Command> {
        match why {
            // It delivers; what the list should have shown, the next one will.
            Why::Approved | Why::Renewed => self.settle(Vec::new(), now),
            Why::Probe { again } => self.not_probed(refusal, again, now),
            Why::Beginning | Why::Refused | Why::Overdue | Why::Ended | Why::Leaving => self.refused(refusal, now),
        }
    }

    /// One answer may be lost on the way, or late because we were; two in a row are a link that delivers nothing.
    fn not_probed(&mut self, refusal: &NoAnswer, again: bool, now: Moment) -> Vec<Command> {
        let outcome = match (refusal, again) {
            (NoAnswer::TimedOut, false) => return self.list(Why::Probe { again: true }),
            (NoAnswer::TimedOut, true) => ProbeOutcome::Unanswered,
            (NoAnswer::Refused(_) | NoAnswer::Disconnected, _) => ProbeOutcome::Failed,
        };
        let mut commands = vec![Command::Tell(Fact::Probe(outcome))];
        self.probe.put_off(&mut self.dice, now);
        commands.extend(self.settle(Vec::new(), now));
        commands
    }

    /// Takes `entry` as ours. Of one we did not know the lease is not known either.
    fn keep(&mut self, entry: Listed) {
        let unconfigured = entry.state == "unconfigured";
        let mut held = match self.held.take() {
            Some(held) if held.subid == entry.subid || held.subid.is_none() => Held { subid: entry.subid, ..held },
            Some(_) | None => {
                let ours = self.is_recorded(entry.subid.as_ref());
                self.leftovers.made = self.own.clone().filter(|_| ours);
                Held::found(entry.subid)
            }
        };
        if unconfigured && held.lease != Lease::Endless {
            held.lease = Lease::Unknown; // without options it does not deliver
        }
        self.held = Some(held);
    }

    /// A list or subscribe request brought no result.
    fn refused(&mut self, refusal: &NoAnswer, now: Moment) -> Vec<Command> {
        match verdict::of_asking(refusal, &self.terms.service) {
            Verdict::Moved(node) => self.follow(node, now),
            Verdict::AlreadyPending => {
                self.held = None;
                self.pending(now)
            }
            Verdict::Denied => self.deny(format!("the service refused: {refusal}"), now),
            Verdict::Passing | Verdict::Gone | Verdict::Unsupported => self.pause(refusal.to_string(), now),
        }
    }

    /// What was asked for is not granted.
    fn turn_away(&mut self, why: String, now: Moment) -> Vec<Command> {
        self.held = None;
        self.deny(why, now)
    }

    /// The answer to a subscribe request.
    pub(super) fn subscribed(&mut self, reply: &Reply, asked: Moment, said: Option<Said>, now: Moment) -> Vec<Command> {
        let SubscribeReply { state, subid } = match reply {
            Ok(result) => SubscribeReply::read(result),
            Err(refusal) => {
                let full = matches!(refusal, NoAnswer::Refused(refusal) if refusal.is("too-many-subscriptions"));
                let room = if full { self.make_room(true) } else { None };
                return room.unwrap_or_else(|| self.refused(refusal, now));
            }
        };
        if state == "none" {
            return self.turn_away("the service answered none".to_owned(), now);
        }
        let named = subid.is_some();
        let lease = if state == "unconfigured" { Lease::Unknown } else { Lease::Until(asked + self.terms.lease) };
        self.held = Some(Held { subid, lease, renewed: Some(asked) });
        self.leftovers.made.clone_from(&self.own);
        let mut commands = vec![Command::Tell(Fact::Created)];
        commands.extend(match (state.as_str(), said) {
            ("subscribed", None | Some(Said::Subscribed)) if named => self.settle(Vec::new(), now),
            ("subscribed", _) | (_, Some(Said::Subscribed)) => self.list(Why::Approved),
            ("unconfigured", None) => self.settle(Vec::new(), now),
            (_, Some(Said::None)) => self.list(Why::Refused),
            (_, None) => self.pending(now),
        });
        commands
    }

    /// The answer to a renewal.
    pub(super) fn renewed(
        &mut self,
        reply: &Reply,
        asked: Moment,
        surplus: Vec<Subid>,
        listed: bool,
        now: Moment,
    ) -> Vec<Command> {
        let verdict = reply.as_ref().map_err(|why| verdict::of_renewing(why, &self.terms.service));
        let (outcome, lease) = match verdict {
            Ok(_) => (RenewalOutcome::Renewed, Lease::Until(asked + self.terms.lease)),
            Err(Verdict::Unsupported) => (RenewalOutcome::Unsupported, Lease::Endless),
            Err(_) => (RenewalOutcome::Failed, Lease::Unknown),
        };
        let mut commands = vec![Command::Tell(Fact::Renewal(outcome))];
        commands.extend(match verdict {
            Ok(_) | Err(Verdict::Unsupported) => {
                let subid = self.held.take().and_then(|held| held.subid);
                self.held = Some(Held { subid, lease, renewed: Some(asked) });
                if listed { self.settle(surplus, now) } else { self.list(Why::Renewed) }
            }
            Err(Verdict::Moved(node)) => self.follow(node, now),
            Err(Verdict::Gone | Verdict::AlreadyPending) => self.renewed_nothing(reply, listed, now),
            Err(verdict @ (Verdict::Passing | Verdict::Denied)) => self.not_renewed(reply, &verdict, asked, now),
        });
        commands
    }

    /// The service does not know what we wanted to renew. A list tells what there is; if it was listed just now, there is
    /// no use in it.
    fn renewed_nothing(&mut self, reply: &Reply, listed: bool, now: Moment) -> Vec<Command> {
        let subid = self.held.take().and_then(|held| held.subid);
        if listed {
            return self.withdraw(vec![subid], NOT_RENEWABLE, now);
        }
        // Unless it is only not known which of several is meant, it may have been gone since it was seen last.
        let several = matches!(reply, Err(NoAnswer::Refused(refusal)) if refusal.is("subid-required"));
        let missing = (!several).then_some(Command::Tell(Fact::Probe(ProbeOutcome::Missing)));
        let mut commands: Vec<Command> = missing.into_iter().collect();
        commands.extend(self.lose("the service does not know it any more", now));
        commands.extend(self.find()); // at once; a new one is asked for after the pause
        commands
    }

    /// It delivers until its lease ends, so it is tried again while time is left.
    fn not_renewed(&mut self, reply: &Reply, verdict: &Verdict, asked: Moment, now: Moment) -> Vec<Command> {
        match self.held.as_ref().and_then(Held::end) {
            Some(end) if end > now => return self.hold_on(now.until(end), now),
            Some(end) if asked < end => self.trouble.reset(), // it ran out meanwhile
            Some(_) | None => {}
        }
        let why = reply.as_ref().err().map_or_else(String::new, |why| format!("renewal: {why}"));
        if *verdict == Verdict::Denied { self.deny(why, now) } else { self.pause(why, now) }
    }

    /// The items were shown, or not: whoever carries the answer reads it. A service that does not show them, by whatever
    /// row of the error table, is not asked again before the next gap; ageing ends what the answer would have.
    pub(super) fn synced(&mut self, reply: &Reply, now: Moment) -> Vec<Command> {
        let outcome = match reply {
            Ok(_) => ResyncOutcome::Shown,
            Err(NoAnswer::Refused(_)) => ResyncOutcome::Refused,
            Err(NoAnswer::TimedOut | NoAnswer::Disconnected) => ResyncOutcome::Timeout,
        };
        let mut commands = vec![Command::Tell(Fact::Resync(outcome))];
        commands.extend(self.settle(Vec::new(), now));
        commands
    }

    /// The answer to the removal of one of several.
    pub(super) fn removed(&mut self, reply: &Reply, surplus: Vec<Subid>, now: Moment) -> Vec<Command> {
        let mut commands = count_removed(reply);
        commands.extend(self.settle(surplus, now));
        commands
    }

    /// The answer to the removal of one of no use.
    pub(super) fn withdrawn(
        &mut self,
        reply: &Reply,
        rest: Vec<Option<Subid>>,
        why: &'static str,
        now: Moment,
    ) -> Vec<Command> {
        self.held = None;
        let mut commands = count_removed(reply);
        commands.extend(self.withdraw(rest, why, now));
        commands
    }
}

/// The list after a renewal counts as a look too where it shows that there is nothing.
fn probed(why: Why, outcome: ProbeOutcome) -> Vec<Command> {
    let looked = matches!(why, Why::Probe { .. }) || (why == Why::Renewed && outcome == ProbeOutcome::Missing);
    looked.then_some(Command::Tell(Fact::Probe(outcome))).into_iter().collect()
}

pub(super) fn count_removed(reply: &Reply) -> Vec<Command> {
    reply.is_ok().then_some(Command::Tell(Fact::Removed)).into_iter().collect()
}
