//! The log-in exchange (RFC 6120 section 6): which mechanism is tried, what is said, and which answers are believed.
//!
//! Invariants, on which the safety of the password relies:
//! * PLAIN is tried only where nobody can listen, and never because the server failed a SCRAM exchange: a server that
//!   cheats gets nothing more. Only the two conditions that are about the mechanism lead to the next one.
//! * SCRAM is done only once the server proved that it knows the password (RFC 5802 section 5).
//! * No failure repeats what the server or we said.
//!
//! Must not know the stream or a clock, and computes no keys: that takes long, so the caller decides where.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use minidom::Element;

use super::link::Failure;
use super::stanza::{self, Challenge};
use crate::domain::secret::Secret;
pub use scram::{Derivation, Salted};
use scram::{Heard, Scram};

mod scram;
#[cfg(test)]
mod tests;

/// A mechanism that we know. ANONYMOUS is never among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 7677.
    ScramSha256,
    /// RFC 5802.
    ScramSha1,
    /// RFC 4616.
    Plain,
}

impl Mechanism {
    const BEST_FIRST: [Self; 3] = [Self::ScramSha256, Self::ScramSha1, Self::Plain];

    /// Returns the name that servers offer it under.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
        }
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(u8);

impl Mechanisms {
    /// Returns whether `mechanism` is in the set.
    #[must_use]
    pub fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & (1 << mechanism as u8) != 0
    }

    /// Returns the set with `mechanism` added.
    #[must_use]
    pub fn with(self, mechanism: Mechanism) -> Self {
        Self(self.0 | 1 << mechanism as u8)
    }

    /// Returns the names of its mechanisms, the best first.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        self.best_first().map(Mechanism::name).collect()
    }

    fn best_first(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::BEST_FIRST.into_iter().filter(move |known| self.contains(*known))
    }
}

/// What the caller has to do next.
#[derive(Debug)]
pub enum Step {
    /// Call [`Exchange::begin`].
    Begin,
    /// Send this and pass the answer to [`Exchange::hear`].
    Send(Element),
    /// Compute the key, away from threads that must not wait, and pass it to [`Exchange::derived`].
    Derive(Derivation),
    /// Begin a new stream: we are logged in.
    Done,
}

/// One log-in.
pub struct Exchange {
    user: String,
    password: Secret,
    /// User and password as SCRAM uses them, if they can be prepared.
    prepared: Option<(String, Secret)>,
    usable: Mechanisms,
    refused: Mechanisms,
    current: Option<(Mechanism, State)>,
}

enum State {
    Plain,
    Scram(Box<Scram>),
}

impl Exchange {
    /// Prepares the log-in of `user` with what is `offered`. Mechanisms in `refused`, which the server offers but refused
    /// before, are left out as long as there are others.
    ///
    /// # Errors
    /// If no offered mechanism may be used with this password; PLAIN may only where the stream is `private`.
    pub fn new(
        user: &str,
        password: &Secret,
        offered: &[String],
        private: bool,
        refused: Mechanisms,
    ) -> Result<Self, Failure> {
        let prepared = prepare(user, password);
        let is_offered = |known: &Mechanism| offered.iter().any(|offered| offered == known.name());
        let is_allowed = |known: &Mechanism| private || *known != Mechanism::Plain;
        let allowed = Mechanism::BEST_FIRST.into_iter().filter(|known| is_offered(known) && is_allowed(known));
        let allowed = allowed.fold(Mechanisms::default(), Mechanisms::with);
        if allowed == Mechanisms::default() {
            return Err(Failure::NoMechanism("the server offers no log-in mechanism that we allow".to_owned()));
        }
        let can_say = |known: &Mechanism| match known {
            Mechanism::ScramSha256 | Mechanism::ScramSha1 => prepared.is_some(),
            Mechanism::Plain => !password.expose().contains('\0'),
        };
        let usable = allowed.best_first().filter(can_say).fold(Mechanisms::default(), Mechanisms::with);
        if usable == Mechanisms::default() {
            return Err(Failure::Refused(
                "the password holds characters that SASLprep (RFC 4013) does not allow; set another one".to_owned(),
            ));
        }
        let left = usable.best_first().any(|known| !refused.contains(known));
        let refused = if left { refused } else { Mechanisms::default() };
        let (user, password) = (user.to_owned(), password.clone());
        Ok(Self { user, password, prepared, usable, refused, current: None })
    }

    /// Returns the mechanisms that this server offers and refuses, as far as they are known.
    #[must_use]
    pub fn refused(&self) -> Mechanisms {
        self.refused
    }

    /// Begins with the best mechanism that is left. `nonce` is printable, without a comma, and new each time.
    ///
    /// # Errors
    /// If none is left.
    pub fn begin(&mut self, nonce: &str) -> Result<Step, Failure> {
        let mut left = self.usable.best_first().filter(|known| !self.refused.contains(*known));
        let Some(mechanism) = left.next() else {
            let names = self.usable.names().join(", ");
            return Err(Failure::NoMechanism(format!(
                "the server refuses every log-in mechanism that it offers and we allow: {names}"
            )));
        };
        let (state, message) = match (mechanism, &self.prepared) {
            (Mechanism::ScramSha256 | Mechanism::ScramSha1, Some((user, password))) => {
                let (scram, message) = Scram::begin(mechanism == Mechanism::ScramSha256, user, password.clone(), nonce);
                (State::Scram(Box::new(scram)), message)
            }
            // The password as it was configured: the server prepares it (RFC 4616 section 2). Prosody does; ejabberd
            // compares it with a password stored in clear byte by byte, so one that we prepared could be another.
            (Mechanism::Plain, _) => (State::Plain, format!("\0{}\0{}", self.user, self.password.expose())),
            (Mechanism::ScramSha256 | Mechanism::ScramSha1, None) => return Err(broken("no prepared password")),
        };
        self.current = Some((mechanism, state));
        Ok(Step::Send(stanza::sasl_auth(mechanism.name(), &BASE64.encode(message))))
    }

    /// Takes what the server said.
    ///
    /// # Errors
    /// If the log-in failed.
    pub fn hear(&mut self, said: Challenge) -> Result<Step, Failure> {
        let Some((mechanism, state)) = &mut self.current else { return Err(broken("an answer to nothing")) };
        match said {
            Challenge::Failure("invalid-mechanism" | "mechanism-too-weak") => {
                self.refused = self.refused.with(*mechanism);
                self.current = None;
                Ok(Step::Begin)
            }
            Challenge::Failure(condition) => Err(of_condition(condition)),
            Challenge::Other => Err(broken("the server answered with something else")),
            Challenge::Answer(data) => match state {
                State::Plain => Err(broken("a challenge, where PLAIN has none")),
                State::Scram(scram) => Ok(match scram.challenge(&decoded(&data)?)? {
                    Heard::Derive(derivation) => Step::Derive(*derivation),
                    Heard::Proven => Step::Send(stanza::sasl_response("")),
                }),
            },
            Challenge::Success(data) => match state {
                State::Plain if data.is_empty() => Ok(Step::Done),
                State::Plain => Err(broken("data with the success, where PLAIN has none")),
                State::Scram(scram) => {
                    scram.success(&decoded(&data)?)?;
                    Ok(Step::Done)
                }
            },
        }
    }

    /// Takes the key of [`Step::Derive`].
    ///
    /// # Errors
    /// If none was asked for.
    pub fn derived(&mut self, salted: &Salted) -> Result<Step, Failure> {
        match &mut self.current {
            Some((_, State::Scram(scram))) => {
                Ok(Step::Send(stanza::sasl_response(&BASE64.encode(scram.prove(salted)?))))
            }
            Some((_, State::Plain)) | None => Err(broken("a key that nobody asked for")),
        }
    }
}

/// Returns user and password as `SASLprep` (RFC 4013) has them, as RFC 5802 section 5.1 demands; none if it forbids them or
/// leaves nothing.
fn prepare(user: &str, password: &Secret) -> Option<(String, Secret)> {
    let prepare = |text: &str| Some(stringprep::saslprep(text).ok()?.into_owned()).filter(|text| !text.is_empty());
    Some((prepare(user)?, Secret::from(prepare(password.expose())?)))
}

fn decoded(data: &str) -> Result<String, Failure> {
    let bytes = BASE64.decode(data).map_err(|_| broken("data that is not base64"))?;
    String::from_utf8(bytes).map_err(|_| broken("data that is not text"))
}

/// Says that the server broke the exchange. Only our own words are told: what was exchanged is about the password.
fn broken(how: &'static str) -> Failure {
    Failure::Protocol(format!("the server failed the log-in exchange: {how}"))
}

/// Tells what a failure with this condition means (RFC 6120 section 6.5).
fn of_condition(condition: &str) -> Failure {
    match condition {
        "not-authorized" | "account-disabled" | "credentials-expired" => Failure::Refused(condition.to_owned()),
        "temporary-auth-failure" => Failure::Throttled(condition.to_owned()),
        other => Failure::Protocol(format!("log-in failed: {other}")),
    }
}
