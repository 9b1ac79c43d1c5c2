//! What a subscription does next: ask, wait, hold, pause.

use std::time::Duration;

use super::holding::{Held, Lease};
use super::phase::{Ask, Pause, Phase, Said, Why};
use super::{Command, Subscription};
use crate::domain::moment::Moment;
use crate::domain::name::{NodeName, Subid};
use crate::protocol::stanza::Request;

/// Redirects are followed this often (protocol sheet section 5).
const MOST_HOPS: u32 = 5;
/// A loss this soon after another one is a sign that they go on.
const IN_A_ROW: Duration = Duration::from_secs(15);
/// Tries to renew while the lease lasts are at least this far apart.
const LEAST_RENEWAL_PAUSE: Duration = Duration::from_millis(500);

impl Subscription {
    pub(super) fn ask(&mut self, ask: Ask, request: Request) -> Vec<Command> {
        self.phase = Phase::Asking(ask);
        vec![Command::Send(request)]
    }

    pub(super) fn list(&mut self, why: Why) -> Vec<Command> {
        self.recheck = false; // what was said until now is in the list
        let request = Request::List { node: self.via.clone() };
        self.ask(Ask::List(why), request)
    }

    pub(super) fn find(&mut self) -> Vec<Command> {
        self.list(Why::Beginning)
    }

    pub(super) fn subscribe(&mut self, now: Moment) -> Vec<Command> {
        if self.waits(now) {
            return self.wait();
        }
        let request = Request::Subscribe { node: self.via.clone(), expire: (now + self.terms.lease).utc() };
        self.ask(Ask::Subscribe { asked: now, said: None }, request)
    }

    pub(super) fn renew(&mut self, surplus: Vec<Subid>, listed: bool, now: Moment) -> Vec<Command> {
        self.refresh = false;
        let subid = self.held.as_ref().and_then(|held| held.subid.clone());
        let request = Request::Renew { node: self.via.clone(), subid, expire: (now + self.terms.lease).utc() };
        self.ask(Ask::Renew { asked: now, surplus, listed }, request)
    }

    pub(super) fn withdraw(&mut self, mut rest: Vec<Option<Subid>>, why: &'static str, now: Moment) -> Vec<Command> {
        let Some(subid) = rest.pop() else { return self.pause(why.to_owned(), now) };
        let request = Request::Unsubscribe { node: self.via.clone(), subid };
        self.ask(Ask::Withdraw { rest, why }, request)
    }

    /// There is one of ours, just listed: renews it where its lease is not certain, removes the others, asks what it
    /// missed, and holds it.
    pub(super) fn settle(&mut self, mut surplus: Vec<Subid>, now: Moment) -> Vec<Command> {
        if self.refresh || self.held.as_ref().is_none_or(|held| held.lease == Lease::Unknown) {
            return self.renew(surplus, true, now);
        }
        if let Some(subid) = surplus.pop() {
            let request = Request::Unsubscribe { node: self.via.clone(), subid: Some(subid) };
            return self.ask(Ask::Remove { surplus }, request);
        }
        let delivers = self.held.as_ref().is_some_and(|held| held.delivers(now));
        if delivers && let Some(commands) = self.clear() {
            return commands;
        }
        if self.recheck {
            self.list(Why::Ended)
        } else if self.terms.resync && self.unsynced && delivers {
            self.unsynced = false; // what is missed from now on, the next answer shows
            let request = Request::Items { node: self.via.clone() };
            self.ask(Ask::Items, request)
        } else {
            self.hold(now)
        }
    }

    /// Renewal falls between half and 65 % of the lease, so that tries are left before 75 %.
    fn hold(&mut self, now: Moment) -> Vec<Command> {
        let lease = self.terms.lease;
        let begun = self.held.as_ref().and_then(|held| held.renewed).unwrap_or(now);
        // Looking it up in between does not throw the dice again.
        let renew_at = match self.renewal {
            Some((of, renew_at)) if of == begun => renew_at,
            Some(_) | None => begun + self.dice.between(lease.mul_f64(0.5), lease.mul_f64(0.65)),
        };
        self.renewal = Some((begun, renew_at));
        if self.probe.due.is_none_or(|due| due <= now) {
            self.probe.put_off(&mut self.dice, now);
        }
        self.phase = Phase::Holding { renew_at };
        self.pause = None;
        self.hops = 0;
        self.denied.reset();
        self.trouble.reset();
        Vec::new()
    }

    /// A renewal failed, but the lease lasts: another try while time is left.
    pub(super) fn hold_on(&mut self, left: Duration, now: Moment) -> Vec<Command> {
        let pause = self.trouble.next(&mut self.dice).min(left / 4).max(LEAST_RENEWAL_PAUSE);
        self.phase = Phase::Holding { renew_at: now + pause };
        self.probe.due = None; // whatever becomes of the renewal, a list follows it
        Vec::new()
    }

    pub(super) fn pending(&mut self, now: Moment) -> Vec<Command> {
        self.phase = Phase::Pending { until: now + self.terms.approval_timeout };
        if self.recheck { self.list(Why::Refused) } else { Vec::new() }
    }

    /// Whether the pause still lasts.
    pub(super) fn waits(&self, now: Moment) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.until > now)
    }

    /// Waits for the end of the pause there is.
    pub(super) fn wait(&mut self) -> Vec<Command> {
        self.phase = Phase::Pausing;
        Vec::new()
    }

    fn begin_again(&mut self, pause: Pause) -> Vec<Command> {
        self.pause = Some(pause);
        self.wait()
    }

    /// Something went wrong that may pass by itself.
    pub(super) fn pause(&mut self, why: String, now: Moment) -> Vec<Command> {
        let until = now + self.trouble.next(&mut self.dice);
        self.begin_again(Pause { until, soonest: until, denied: false, why })
    }

    /// The service said no.
    pub(super) fn deny(&mut self, why: String, now: Moment) -> Vec<Command> {
        self.leave_redirects();
        let until = now + self.denied.next(&mut self.dice);
        self.begin_again(Pause { until, soonest: now + Pause::LEAST_AFTER_REFUSAL, denied: true, why })
    }

    /// It was there and is not any more: again within 5 s (interface section 6, promise 7), the first time sooner, and
    /// yet at most three times in 15 s.
    pub(super) fn lose(&mut self, why: &str, now: Moment) -> Vec<Command> {
        self.held = None;
        self.leave_redirects();
        let again = self.last_loss.replace(now).is_some_and(|last| now.since(last) < IN_A_ROW);
        let (least, most) = if again { (4550, 4750) } else { (1500, 2500) };
        let until = now + self.dice.between(Duration::from_millis(least), Duration::from_millis(most));
        self.begin_again(Pause { until, soonest: until, denied: false, why: why.to_owned() })
    }

    /// The node is elsewhere.
    pub(super) fn follow(&mut self, node: NodeName, now: Moment) -> Vec<Command> {
        if self.hops >= MOST_HOPS {
            return self.deny(format!("redirected more than {MOST_HOPS} times"), now);
        }
        self.hops += 1;
        self.via = node;
        self.find()
    }

    /// Where they led may not hold any more: the next try begins at the configured node.
    fn leave_redirects(&mut self) {
        self.hops = 0;
        self.via = self.terms.node.clone();
    }

    /// A message told of a new state of ours.
    pub(super) fn told(&mut self, said: Said, subid: Option<&Subid>) -> Vec<Command> {
        match (&mut self.phase, said) {
            (Phase::Pending { .. }, Said::Subscribed) => {
                let held = self.held.get_or_insert(Held::found(None));
                held.subid = subid.cloned().or(held.subid.take());
                self.list(Why::Approved)
            }
            (Phase::Pending { .. }, Said::None) => self.list(Why::Refused),
            (Phase::Holding { .. }, Said::None) => self.list(Why::Ended),
            (Phase::Pausing, Said::Subscribed) => self.find(), // approved after all
            (Phase::Asking(Ask::Subscribe { said: heard, .. }), said) => {
                *heard = Some(said);
                Vec::new()
            }
            (Phase::Asking(_), _) => {
                self.recheck = true;
                Vec::new()
            }
            (Phase::Holding { .. }, Said::Subscribed) | (Phase::Pausing, Said::None) | (Phase::Offline, _) => {
                Vec::new()
            }
        }
    }
}
