//! The link of one account: when to connect, how long to wait after which failure.

use std::time::Duration;

use super::backoff::{Backoff, Dice};
use super::logins::Urgency;
use crate::domain::moment::Moment;
use crate::domain::status::{ConnectOutcome, DisconnectReason, GapReason};

/// An online session at least this long shows that connecting works.
const STABLE: Duration = Duration::from_mins(1);
/// The first try after the loss of a session comes within 5 s (interface section 6, promise 7). Its turn comes within
/// [`super::logins::LONGEST_HOLD`] more.
const FIRST_TRY: Duration = Duration::from_millis(3900);
/// `see-other-host` is followed this often in a row.
const MOST_HOPS: u32 = 3;

/// Why no session came about. The text is free of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Credentials rejected: `not-authorized`, `account-disabled`, `credentials-expired`.
    Refused(String),
    /// Certificate, name, version, or no TLS offered.
    Tls(String),
    /// DNS or TCP.
    Network(String),
    /// No answer in time.
    Timeout,
    /// The peer broke the protocol, or offers no mechanism we may use.
    Protocol(String),
    /// The peer asked for patience: `temporary-auth-failure`, `resource-constraint`, `policy-violation`.
    Throttled(String),
    /// The peer named another host (RFC 6120 section 4.9.3.19).
    Redirected(String),
}

impl Failure {
    /// The label of `connects_total`.
    #[must_use]
    pub fn outcome(&self) -> ConnectOutcome {
        match self {
            Self::Refused(_) => ConnectOutcome::Refused,
            Self::Tls(_) => ConnectOutcome::Tls,
            Self::Network(_) => ConnectOutcome::Network,
            Self::Timeout => ConnectOutcome::Timeout,
            Self::Protocol(_) | Self::Redirected(_) => ConnectOutcome::Protocol,
            Self::Throttled(_) => ConnectOutcome::Throttled,
        }
    }

    /// What an operator reads.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Refused(why) => format!("the server rejected the credentials: {why}"),
            Self::Tls(why) => format!("TLS: {why}"),
            Self::Network(why) | Self::Protocol(why) => why.clone(),
            Self::Timeout => "the server did not answer in time".to_owned(),
            Self::Throttled(why) => format!("the server asked for patience: {why}"),
            Self::Redirected(host) => format!("the server sent us to {host}"),
        }
    }

    /// Whether a lost stream may still be there after it: the fault was on the way, or is one of the moment.
    #[must_use]
    pub fn leaves_resumption(&self) -> bool {
        match self {
            Self::Network(_) | Self::Timeout | Self::Tls(_) | Self::Throttled(_) | Self::Redirected(_) => true,
            Self::Refused(_) | Self::Protocol(_) => false,
        }
    }
}

/// Why a session ended. The text is free of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// We ended it.
    Stopped,
    /// TCP fault, or a connection closed without a word.
    Network(String),
    /// The peer ended the stream in good order.
    Closed,
    /// Nothing came back in time.
    Timeout,
    /// The peer took nothing of what was sent in time.
    Unread,
    /// Another session bound our resource.
    Conflict,
    /// The peer named another host.
    Redirected(String),
    /// The peer asked for patience.
    Throttled(String),
    /// Any other stream error, by its condition.
    StreamError(String),
    /// Bad XML.
    Protocol(String),
}

impl Loss {
    /// The label of `disconnects_total`.
    #[must_use]
    pub fn reason(&self) -> DisconnectReason {
        match self {
            Self::Stopped => DisconnectReason::Stopped,
            Self::Network(_) | Self::Closed => DisconnectReason::Network,
            Self::Timeout | Self::Unread => DisconnectReason::Timeout,
            Self::Conflict => DisconnectReason::Conflict,
            Self::Redirected(_) => DisconnectReason::Redirected,
            Self::Throttled(_) | Self::StreamError(_) => DisconnectReason::StreamError,
            Self::Protocol(_) => DisconnectReason::Protocol,
        }
    }

    /// The reason of the gap it leaves. A clean stop leaves none yet: whoever starts next knows how long it was.
    #[must_use]
    pub fn gap(&self) -> Option<GapReason> {
        match self {
            Self::Stopped => None,
            Self::Conflict => Some(GapReason::Conflict),
            Self::Network(_)
            | Self::Closed
            | Self::Timeout
            | Self::Unread
            | Self::Redirected(_)
            | Self::Throttled(_)
            | Self::StreamError(_)
            | Self::Protocol(_) => Some(GapReason::Disconnect),
        }
    }

    /// What an operator reads.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Stopped => "stopped".to_owned(),
            Self::Network(why) | Self::Protocol(why) => why.clone(),
            Self::Closed => "the server closed the stream".to_owned(),
            Self::Timeout => "the link answered nothing".to_owned(),
            Self::Unread => "the server does not read what is sent to it".to_owned(),
            Self::Conflict => "another session bound the same resource: is a second router running?".to_owned(),
            Self::Redirected(host) => format!("the server sent us to {host}"),
            Self::Throttled(why) => format!("the server asked for patience: {why}"),
            Self::StreamError(condition) => format!("the server closed the stream: {condition}"),
        }
    }

    /// Whether the server may still have the stream and wait for us: nobody ended it, only the way to it is gone
    /// (XEP-0198 section 5).
    #[must_use]
    pub fn leaves_resumption(&self) -> bool {
        match self {
            Self::Network(_) | Self::Timeout | Self::Unread => true,
            Self::Stopped
            | Self::Closed
            | Self::Conflict
            | Self::Redirected(_)
            | Self::Throttled(_)
            | Self::StreamError(_)
            | Self::Protocol(_) => false,
        }
    }
}

/// The link of one account.
#[derive(Clone, Debug)]
pub struct Link {
    state: State,
    dice: Dice,
    fault: Backoff,
    refused: Backoff,
    conflict: Backoff,
    throttled: Backoff,
    hops: u32,
    urgency: Urgency,
}

/// Where the link stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started, or stopped.
    Down,
    /// A session is being made.
    Connecting,
    /// A session is up.
    Up {
        /// Since when.
        since: Moment,
    },
    /// Between two tries.
    Waiting {
        /// Until when.
        until: Moment,
        /// Whether the credentials were rejected.
        refused: bool,
        /// What an operator reads.
        why: String,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make a session, with another host than the configured one where the server named it.
    Connect(Option<String>),
    /// Wait for [`Link::deadline`] or for an input.
    Wait,
}

impl Link {
    /// A link that is down.
    #[must_use]
    pub fn new(dice: Dice) -> Self {
        Self {
            state: State::Down,
            dice,
            fault: Backoff::full_jitter(Duration::from_secs(1), Duration::from_mins(1)),
            refused: Backoff::at_least(Duration::from_mins(15), Duration::from_hours(4)),
            conflict: Backoff::at_least(Duration::from_secs(15), Duration::from_mins(10)),
            throttled: Backoff::at_least(Duration::from_secs(10), Duration::from_mins(15)),
            hops: 0,
            urgency: Urgency::New,
        }
    }

    /// How urgent the next log-in is.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Begins.
    pub fn start(&mut self) -> Next {
        self.state = State::Connecting;
        Next::Connect(None)
    }

    /// A session is up.
    pub fn connected(&mut self, now: Moment) {
        self.refused.reset();
        self.urgency = Urgency::Lost;
        self.state = State::Up { since: now };
    }

    /// No session came about.
    pub fn failed(&mut self, failure: &Failure, now: Moment) -> Next {
        if let Failure::Redirected(host) = failure
            && let Some(next) = self.follow(host)
        {
            return next;
        }
        self.urgency = Urgency::Failing;
        let pause = match failure {
            Failure::Refused(_) => self.refused.next(&mut self.dice),
            Failure::Throttled(_) => self.throttled.next(&mut self.dice),
            Failure::Tls(_)
            | Failure::Network(_)
            | Failure::Timeout
            | Failure::Protocol(_)
            | Failure::Redirected(_) => self.fault.next(&mut self.dice),
        };
        self.wait(now + pause, matches!(failure, Failure::Refused(_)), failure.why())
    }

    /// The session is over.
    pub fn lost(&mut self, loss: &Loss, now: Moment) -> Next {
        let stable = matches!(self.state, State::Up { since } if now.since(since) >= STABLE);
        if stable {
            for backoff in [&mut self.fault, &mut self.conflict, &mut self.throttled] {
                backoff.reset();
            }
            self.hops = 0;
        }
        if let Loss::Redirected(host) = loss
            && let Some(next) = self.follow(host)
        {
            return next;
        }
        let pause = match loss {
            Loss::Conflict => self.conflict.next(&mut self.dice),
            Loss::Throttled(_) => self.throttled.next(&mut self.dice),
            Loss::Stopped => {
                self.state = State::Down;
                return Next::Wait;
            }
            Loss::Network(_)
            | Loss::Closed
            | Loss::Timeout
            | Loss::Unread
            | Loss::Redirected(_)
            | Loss::StreamError(_)
            | Loss::Protocol(_) => {
                // A server that lets in and throws out must not be asked many times a second.
                let least = if stable { Duration::ZERO } else { FIRST_TRY / 3 };
                self.fault.next(&mut self.dice).max(least).min(FIRST_TRY)
            }
        };
        self.wait(now + pause, false, loss.why())
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) -> Next {
        match self.state {
            State::Waiting { until, .. } if until <= now => self.start(),
            State::Waiting { .. } | State::Down | State::Connecting | State::Up { .. } => Next::Wait,
        }
    }

    /// Ends for good.
    pub fn stop(&mut self) {
        self.state = State::Down;
    }

    /// When [`Self::tick`] next has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Waiting { until, .. } => Some(until),
            State::Down | State::Connecting | State::Up { .. } => None,
        }
    }

    fn follow(&mut self, host: &str) -> Option<Next> {
        (self.hops < MOST_HOPS).then(|| {
            self.hops += 1;
            self.state = State::Connecting;
            Next::Connect(Some(host.to_owned()))
        })
    }

    fn wait(&mut self, until: Moment, refused: bool, why: String) -> Next {
        self.hops = 0;
        self.state = State::Waiting { until, refused, why };
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::virtual_at(Duration::from_secs(seconds), "2026-01-01T00:00:00Z".parse().unwrap())
    }

    fn up(seed: u64, now: Moment) -> Link {
        let mut link = Link::new(Dice::seeded(seed));
        assert_eq!(link.start(), Next::Connect(None));
        link.connected(now);
        link
    }

    fn pause(link: &Link, now: Moment) -> Duration {
        now.until(link.deadline().unwrap())
    }

    #[test]
    fn after_a_loss_the_first_try_comes_within_five_seconds_however_often_it_happened() {
        for seed in 0..200 {
            let mut link = up(seed, at(0));
            for n in 0..20 {
                link.lost(&Loss::Network("reset".into()), at(n));
                assert!(pause(&link, at(n)) < Duration::from_secs(5), "seed {seed}");
                assert_eq!(link.tick(link.deadline().unwrap()), Next::Connect(None));
                link.connected(at(n));
            }
        }
    }

    #[test]
    fn a_server_that_lets_in_and_throws_out_is_not_hammered() {
        for seed in 0..200 {
            let mut link = up(seed, at(0));
            link.lost(&Loss::StreamError("reset".into()), at(0));
            assert!(pause(&link, at(0)) >= Duration::from_secs(1), "seed {seed}");
        }
    }

    /// Rule 27: a long hold-off.
    #[test]
    fn after_a_conflict_nothing_is_tried_for_ten_seconds() {
        for seed in 0..200 {
            let mut link = up(seed, at(0));
            link.lost(&Loss::Conflict, at(3600));
            assert!(pause(&link, at(3600)) >= Duration::from_secs(10), "seed {seed}");
        }
    }

    /// Rule 8: credentials are no fault that passes.
    #[test]
    fn rejected_credentials_are_tried_again_after_a_quarter_of_an_hour_and_then_later() {
        let mut link = Link::new(Dice::seeded(1));
        link.start();
        link.failed(&Failure::Refused("not-authorized".into()), at(0));
        assert!(matches!(link.state(), State::Waiting { refused: true, .. }));
        let first = pause(&link, at(0));
        link.tick(link.deadline().unwrap());
        link.failed(&Failure::Refused("not-authorized".into()), at(5000));
        assert!(first >= Duration::from_mins(15) && pause(&link, at(5000)) >= Duration::from_mins(30));
    }

    /// Rule 27: with limited hops.
    #[test]
    fn another_host_is_followed_a_few_times_and_then_waited_for() {
        let mut link = Link::new(Dice::seeded(1));
        link.start();
        for _ in 0..MOST_HOPS {
            assert_eq!(link.failed(&Failure::Redirected("b.test".into()), at(0)), Next::Connect(Some("b.test".into())));
        }
        assert_eq!(link.failed(&Failure::Redirected("b.test".into()), at(0)), Next::Wait);
    }

    #[test]
    fn a_server_that_lets_in_and_sends_elsewhere_is_not_followed_for_ever() {
        let mut link = up(1, at(0));
        let away = Loss::Redirected("b.test".into());
        for _ in 0..MOST_HOPS {
            assert_eq!(link.lost(&away, at(0)), Next::Connect(Some("b.test".into())));
            link.connected(at(0));
        }
        assert_eq!(link.lost(&away, at(0)), Next::Wait);
        link.tick(link.deadline().unwrap());
        link.connected(at(10));
        assert_eq!(link.lost(&away, at(3600)), Next::Connect(Some("b.test".into())), "an hour later it is news");
    }

    /// Rule 27: exponential, with full jitter.
    #[test]
    fn repeated_network_faults_are_waited_out_for_longer_and_longer_up_to_a_minute() {
        let mut link = Link::new(Dice::seeded(3));
        link.start();
        let mut most = Duration::ZERO;
        for _ in 0..200 {
            link.failed(&Failure::Network("refused".into()), at(0));
            most = most.max(pause(&link, at(0)));
            assert!(most <= Duration::from_mins(1));
            link.tick(link.deadline().unwrap());
        }
        assert!(most > Duration::from_secs(30));
    }
}
