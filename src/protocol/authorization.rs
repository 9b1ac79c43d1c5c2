//! The authorization of one account: `authorize-plain`, asked again before the granted hour ends.
//!
//! The end of a grant is told by the server's clock: the UTC of every `now` must be the server's, as far as it is known
//! ([`super::clock`]).

use std::time::Duration;

use jiff::Timestamp;

use super::backoff::{Backoff, Dice};
use super::requests::{NoAnswer, Reply};
use super::stanza::Granted;
use crate::domain::moment::Moment;

/// What a grant is worth when the reply says no readable end (protocol sheet section 4: one hour).
const USUAL: Duration = Duration::from_hours(1);
/// A renewal comes at the latest then (protocol sheet section 17, rule 7), and when 75 % of the time has passed.
const LATEST_RENEWAL: Duration = Duration::from_mins(45);

/// One that is this fresh is not asked for again, whatever happens to the subscriptions.
const FRESH: Duration = Duration::from_secs(2);

/// Tries to renew while the old grant lasts are at least this far apart.
const LEAST_PAUSE: Duration = Duration::from_millis(500);

/// The authorization of one account.
#[derive(Clone, Debug)]
pub struct Authorization {
    phase: Phase,
    asked: Option<Moment>,
    grant: Option<Held>,
    until: Option<Moment>,
    /// When it ran out, if nothing was granted since.
    lapsed: Option<Moment>,
    /// Whether this session was granted it: what an earlier one was granted is asked for again before it counts.
    confirmed: bool,
    addresses: Vec<String>,
    dice: Dice,
    fault: Backoff,
    refused: Backoff,
}

/// A grant as it was given.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// When it was asked for: what the service granted, it granted after that.
    asked: Moment,
    /// Its end, by the server's clock.
    expires: Option<Timestamp>,
    /// The share of its time after which it is renewed.
    share: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Asking,
    Settled { renew_at: Moment },
    Pausing { until: Moment, refused: bool, why: String },
}

/// How the account stands, as far as authorization goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was never asked, or the first answer is awaited.
    Asking,
    /// Granted.
    Granted,
    /// Not granted, to be asked again soon.
    Waiting(String),
    /// The service rejected the credentials.
    Refused(String),
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted, for the first time or again.
    Granted,
    /// Not granted this time.
    NotGranted,
}

impl Authorization {
    /// An authorization nobody asked for yet.
    #[must_use]
    pub fn new(dice: Dice) -> Self {
        Self {
            phase: Phase::Idle,
            asked: None,
            grant: None,
            until: None,
            lapsed: None,
            confirmed: false,
            addresses: Vec::new(),
            dice,
            // 2.5 s, 5 s, 10 s: three tries in the first 15 s, also counting the one that failed.
            fault: Backoff::at_least(Duration::from_millis(2500), Duration::from_mins(1)),
            refused: Backoff::at_least(Duration::from_mins(15), Duration::from_hours(4)),
        }
    }

    /// A session is up: returns whether to ask now. A refusal is waited out across sessions.
    pub fn connected(&mut self, now: Moment) -> bool {
        match self.phase {
            Phase::Pausing { until, refused: true, .. } if until > now => false,
            Phase::Idle | Phase::Asking | Phase::Settled { .. } | Phase::Pausing { .. } => self.ask(now),
        }
    }

    /// The session is over. What was granted stays granted until its time.
    pub fn disconnected(&mut self) {
        self.confirmed = false;
        self.lapsed = None;
        if !matches!(self.phase, Phase::Pausing { refused: true, .. }) {
            self.phase = Phase::Idle;
        }
    }

    /// The answer to the request.
    pub fn answered(&mut self, reply: &Reply, now: Moment) -> Outcome {
        let granted = reply.as_ref().map(Granted::read);
        match granted {
            Ok(Granted::Yes(grant)) => {
                let share = 0.6 + 0.1 * self.dice.roll();
                let asked = self.asked.take().unwrap_or(now);
                self.settle(Held { asked, expires: grant.expires, share }, now);
                self.confirmed = true;
                self.lapsed = None;
                self.addresses = grant.addresses;
                self.fault.reset();
                self.refused.reset();
                Outcome::Granted
            }
            Ok(Granted::No) => self.pause(true, "authorize-plain did not complete".to_owned(), now),
            Err(NoAnswer::Disconnected) => Outcome::NotGranted,
            Err(why) => self.pause(!why.may_pass(), format!("authorize-plain: {why}"), now),
        }
    }

    /// The service ended a subscription; it may have ended the authorization too: returns whether to ask now (protocol
    /// sheet section 17, rule 13).
    pub fn doubted(&mut self, now: Moment) -> bool {
        let fresh = self.grant.is_some_and(|held| now.since(held.asked) < FRESH);
        matches!(self.phase, Phase::Settled { .. }) && !fresh && self.ask(now)
    }

    /// The server's clock is known better than before: what was granted already ends when it says.
    pub fn corrected(&mut self, now: Moment) {
        if let (Some(held), Some(_), Phase::Settled { .. }) = (self.grant, self.until, &self.phase) {
            self.settle(held, now);
        }
    }

    /// An end that is not readable, or over already, is no end the service meant.
    fn settle(&mut self, held: Held, now: Moment) {
        let until = held.expires.map(|utc| now.at_utc(utc)).filter(|until| *until > now);
        let until = until.unwrap_or_else(|| (held.asked + USUAL).by(now));
        let renew_in = held.asked.until(until).mul_f64(held.share).min(LATEST_RENEWAL);
        self.phase = Phase::Settled { renew_at: held.asked + renew_in };
        self.until = Some(until);
        self.grant = Some(held);
    }

    /// Time has passed: returns whether to ask now.
    pub fn tick(&mut self, now: Moment) -> bool {
        if let Some(until) = self.until.filter(|until| *until <= now) {
            self.until = None;
            self.lapsed = Some(until).filter(|_| self.confirmed);
        }
        match self.phase {
            Phase::Settled { renew_at: due } | Phase::Pausing { until: due, .. } if due <= now => self.ask(now),
            Phase::Idle | Phase::Asking | Phase::Settled { .. } | Phase::Pausing { .. } => false,
        }
    }

    /// When [`Self::tick`] next has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let due = match self.phase {
            Phase::Settled { renew_at: due } | Phase::Pausing { until: due, .. } => Some(due),
            Phase::Idle | Phase::Asking => None,
        };
        due.into_iter().chain(self.until).min()
    }

    /// How the account stands.
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        match (&self.phase, self.until) {
            (Phase::Pausing { refused: true, why, .. }, _) => Standing::Refused(why.clone()),
            (_, Some(until)) if self.confirmed && until > now => Standing::Granted,
            (Phase::Pausing { why, .. }, _) => Standing::Waiting(why.clone()),
            (Phase::Idle | Phase::Asking | Phase::Settled { .. }, _) => Standing::Asking,
        }
    }

    /// Until when it is granted, while it is.
    #[must_use]
    pub fn until(&self) -> Option<Moment> {
        self.until
    }

    /// Its end by the service's clock, as the service wrote it.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.grant.and_then(|held| held.expires)
    }

    /// When it ran out in this session, if nothing was granted since.
    #[must_use]
    pub fn lapsed(&self) -> Option<Moment> {
        self.lapsed
    }

    /// The addresses of the newest grant.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    fn ask(&mut self, now: Moment) -> bool {
        self.phase = Phase::Asking;
        self.asked = Some(now);
        true
    }

    fn pause(&mut self, refused: bool, why: String, now: Moment) -> Outcome {
        let backoff = if refused { &mut self.refused } else { &mut self.fault };
        let pause = backoff.next(&mut self.dice);
        // While the old grant lasts there is time for several tries, however short it is.
        let left = self.until.map(|until| now.until(until)).filter(|left| !refused && !left.is_zero());
        let until = now + left.map_or(pause, |left| pause.min(left / 4).max(LEAST_PAUSE));
        self.phase = Phase::Pausing { until, refused, why };
        Outcome::NotGranted
    }
}

#[cfg(test)]
mod tests;
