//! One account: its link and its authorization together, as one state and one list of things to do.

use std::time::Duration;

use xmpp_parsers::jid::FullJid;

use super::authorization::{Authorization, Outcome, Standing};
use super::backoff::Dice;
use super::link::{Failure, Link, Loss, Next, State};
use super::logins::Urgency;
use super::requests::Reply;
use crate::domain::moment::Moment;
use crate::domain::status::AccountState;

/// One account.
#[derive(Clone, Debug)]
pub struct Account {
    link: Link,
    authorization: Option<Authorization>,
    own: Option<FullJid>,
    serving: bool,
    held: Option<Held>,
    reported: Option<(AccountState, Option<String>)>,
}

/// A session that was lost and may be resumed (XEP-0198): until then nothing of it is given up.
#[derive(Clone, Debug)]
struct Held {
    own: FullJid,
    until: Moment,
}

/// Something to carry out, or to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make a session, with another host than the configured one where the server named it.
    Connect(Option<String>),
    /// Send `authorize-plain`.
    Authorize,
    /// The subscriptions may begin, as this full JID.
    Serve(FullJid),
    /// The authorization was renewed: the subscriptions' turn.
    Reauthorized {
        /// Whether it had ended before, so that events may have been missed.
        lapsed: bool,
    },
    /// The session is over for good: whoever waits for an answer gets none, and the subscriptions have no connection.
    Suspend,
    /// The account's state changed.
    Became(AccountState, Option<String>),
}

impl Account {
    /// An account at rest; with `authorize` it asks for authorization in every session.
    #[must_use]
    pub fn new(authorize: bool, mut dice: Dice) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only a seed")]
        let seed = (dice.roll() * 1e15) as u64;
        Self {
            link: Link::new(dice),
            authorization: authorize.then(|| Authorization::new(Dice::seeded(seed))),
            own: None,
            serving: false,
            held: None,
            reported: None,
        }
    }

    /// Begins.
    pub fn start(&mut self, now: Moment) -> Vec<Command> {
        let next = self.link.start();
        self.conclude(connect(next), now)
    }

    /// A new session is up, bound to `own`, and presence is sent. One that was held is gone with it.
    pub fn connected(&mut self, own: FullJid, now: Moment) -> Vec<Command> {
        let mut commands = if self.held.is_some() { self.give_up() } else { Vec::new() };
        self.link.connected(now);
        self.own = Some(own);
        commands.extend(match &mut self.authorization {
            Some(authorization) => {
                if authorization.connected(now) {
                    vec![Command::Authorize]
                } else {
                    Vec::new()
                }
            }
            None => self.serve(),
        });
        self.conclude(commands, now)
    }

    /// The server has the session that was held no more.
    pub fn not_resumed(&mut self, now: Moment) -> Vec<Command> {
        let commands = if self.held.is_some() { self.give_up() } else { Vec::new() };
        self.conclude(commands, now)
    }

    /// The session that was held goes on, with all that was granted and subscribed in it.
    pub fn resumed(&mut self, now: Moment) -> Vec<Command> {
        let Some(Held { own, .. }) = self.held.take() else { return Vec::new() };
        self.link.connected(now);
        self.own = Some(own);
        self.tick(now)
    }

    /// No session came about.
    pub fn failed(&mut self, failure: &Failure, now: Moment) -> Vec<Command> {
        let next = self.link.failed(failure, now);
        let over = self.held.is_some() && !failure.leaves_resumption();
        let mut commands = if over { self.give_up() } else { Vec::new() };
        commands.extend(connect(next));
        self.conclude(commands, now)
    }

    /// The session is over.
    pub fn lost(&mut self, loss: &Loss, now: Moment) -> Vec<Command> {
        let next = self.link.lost(loss, now);
        let mut commands = self.give_up();
        commands.extend(connect(next));
        self.conclude(commands, now)
    }

    /// The session is lost, and the server may wait `patience` for us to resume it.
    pub fn interrupted(&mut self, loss: &Loss, patience: Duration, now: Moment) -> Vec<Command> {
        let Some(own) = self.own.take().filter(|_| loss.leaves_resumption()) else { return self.lost(loss, now) };
        self.held = Some(Held { own, until: now + patience });
        let next = self.link.lost(loss, now);
        self.conclude(connect(next), now)
    }

    /// The answer to `authorize-plain`; one that comes after the session is of no use.
    pub fn authorized(&mut self, reply: &Reply, now: Moment) -> Vec<Command> {
        if self.jid().is_none() {
            return Vec::new();
        }
        let held = self.authorization.as_ref().is_none_or(|held| held.standing(now) == Standing::Granted);
        let outcome = self.authorization.as_mut().map(|authorization| authorization.answered(reply, now));
        let commands = match outcome {
            Some(Outcome::Granted) if self.serving => vec![Command::Reauthorized { lapsed: !held }],
            Some(Outcome::Granted) => self.serve(),
            Some(Outcome::NotGranted) | None => Vec::new(),
        };
        self.conclude(commands, now)
    }

    /// The service ended a subscription: the authorization is in doubt.
    pub fn doubted(&mut self, now: Moment) -> Vec<Command> {
        let serving = self.own.is_some() && self.serving;
        let ask = serving && self.authorization.as_mut().is_some_and(|authorization| authorization.doubted(now));
        self.conclude(if ask { vec![Command::Authorize] } else { Vec::new() }, now)
    }

    /// The server's clock is known better than before.
    pub fn corrected(&mut self, now: Moment) -> Vec<Command> {
        if let Some(authorization) = &mut self.authorization {
            authorization.corrected(now);
        }
        self.conclude(Vec::new(), now)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) -> Vec<Command> {
        let over = self.held.as_ref().is_some_and(|held| held.until <= now);
        let mut commands = if over { self.give_up() } else { Vec::new() };
        commands.extend(connect(self.link.tick(now)));
        if self.own.is_some() && self.authorization.as_mut().is_some_and(|authorization| authorization.tick(now)) {
            commands.push(Command::Authorize);
        }
        self.conclude(commands, now)
    }

    /// When [`Self::tick`] next has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let authorization = self.own.as_ref().and(self.authorization.as_ref()).and_then(Authorization::deadline);
        let patience = self.held.as_ref().map(|held| held.until);
        self.link.deadline().into_iter().chain(authorization).chain(patience).min()
    }

    /// How urgent the next log-in is.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        self.link.urgency()
    }

    /// The bound full JID, while connected.
    #[must_use]
    pub fn own(&self) -> Option<&FullJid> {
        self.own.as_ref()
    }

    /// The full JID of the session, connected or held.
    #[must_use]
    pub fn jid(&self) -> Option<&FullJid> {
        self.own.as_ref().or(self.held.as_ref().map(|held| &held.own))
    }

    /// Whether a lost session waits to be resumed.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The full JID of the session, while the subscriptions may run in it.
    #[must_use]
    pub fn serving(&self) -> Option<FullJid> {
        self.jid().cloned().filter(|_| self.serving)
    }

    /// Since when its subscriptions run without an authorization, and so may deliver nothing; none while all is well or
    /// they do not run.
    #[must_use]
    pub fn lapsed(&self) -> Option<Moment> {
        self.authorization.as_ref().filter(|_| self.serving).and_then(Authorization::lapsed)
    }

    /// Its authorization, where it needs one.
    #[must_use]
    pub fn authorization(&self) -> Option<&Authorization> {
        self.authorization.as_ref()
    }

    /// Nothing of the session is left.
    fn give_up(&mut self) -> Vec<Command> {
        self.own = None;
        self.held = None;
        self.serving = false;
        if let Some(authorization) = &mut self.authorization {
            authorization.disconnected();
        }
        vec![Command::Suspend]
    }

    fn serve(&mut self) -> Vec<Command> {
        let Some(own) = self.own.clone() else { return Vec::new() };
        self.serving = true;
        vec![Command::Serve(own)]
    }

    fn conclude(&mut self, mut commands: Vec<Command>, now: Moment) -> Vec<Command> {
        let state = self.state(now);
        if self.reported.as_ref() != Some(&state) {
            commands.push(Command::Became(state.0, state.1.clone()));
            self.reported = Some(state);
        }
        commands
    }

    /// Bound, presence sent and authorized is `online`; what the subscriptions do does not matter (interface section 4).
    fn state(&self, now: Moment) -> (AccountState, Option<String>) {
        match self.link.state() {
            State::Down | State::Connecting => (AccountState::Connecting, None),
            State::Waiting { refused: true, why, .. } => (AccountState::Refused, Some(why.clone())),
            State::Waiting { refused: false, why, .. } => (AccountState::Waiting, Some(why.clone())),
            State::Up { .. } => match self.authorization.as_ref().map(|authorization| authorization.standing(now)) {
                None | Some(Standing::Granted) => (AccountState::Online, None),
                Some(Standing::Asking) => (AccountState::Authorizing, None),
                Some(Standing::Waiting(why)) => (AccountState::Waiting, Some(why)),
                Some(Standing::Refused(why)) => (AccountState::Refused, Some(why)),
            },
        }
    }
}

fn connect(next: Next) -> Vec<Command> {
    match next {
        Next::Connect(host) => vec![Command::Connect(host)],
        Next::Wait => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
