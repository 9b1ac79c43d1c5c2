//! The server's clock: how it differs from ours, asked for by XEP-0202.
//!
//! An authorization ends, and a lease must end, by the server's UTC (protocol sheet section 4). Our own clock need not
//! agree with it, and may be set while we run: so the server's time is remembered together with the monotonic instant
//! at which it was read, and everything is worked out from there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::backoff::Dice;
use super::requests::Reply;
use super::stanza;
use crate::domain::moment::Moment;

/// Clocks drift by seconds a day.
const AGAIN: (Duration, Duration) = (Duration::from_mins(45), Duration::from_mins(75));
/// A server that is further off than this says nonsense: certificates would not be valid on both sides.
const MOST_APART: SignedDuration = SignedDuration::from_hours(24);

/// What is known of the server's clock.
#[derive(Clone, Debug)]
pub struct Clock {
    /// An instant, with UTC as the server has it.
    known: Option<Moment>,
    /// When the question under way was asked.
    asked: Option<Moment>,
    ask_at: Option<Moment>,
    dice: Dice,
}

impl Clock {
    /// A clock nobody asked for yet; until then ours stands in.
    #[must_use]
    pub fn new(dice: Dice) -> Self {
        Self { known: None, asked: None, ask_at: None, dice }
    }

    /// A session is up: ask now.
    pub fn connected(&mut self, now: Moment) {
        self.asked = None;
        self.ask_at = Some(now);
    }

    /// The session is over. What is known stays known.
    pub fn disconnected(&mut self) {
        self.asked = None;
        self.ask_at = None;
    }

    /// Whether to ask now; exactly one [`Self::answered`] must follow while the session lasts.
    pub fn tick(&mut self, now: Moment) -> bool {
        let due = self.ask_at.is_some_and(|due| due <= now);
        if due {
            self.ask_at = None;
            self.asked = Some(now);
        }
        due
    }

    /// The answer. The server read its clock somewhere between question and answer: the middle is off by half of that
    /// time at most. No answer, or a nonsensical one, changes nothing. Returns whether something is known now that was
    /// not before.
    pub fn answered(&mut self, reply: &Reply, now: Moment) -> bool {
        let Some(asked) = self.asked.take() else { return false };
        self.ask_at = Some(now + self.dice.between(AGAIN.0, AGAIN.1));
        let told = reply.as_ref().ok().and_then(stanza::time);
        let middle = asked + now.since(asked) / 2;
        let sane = |utc: &Timestamp| utc.duration_since(middle.utc()).abs() <= MOST_APART;
        let Some(utc) = told.filter(sane) else { return false };
        self.known = Some(middle.reading(utc));
        true
    }

    /// When [`Self::tick`] next has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.ask_at
    }

    /// The same instant, with UTC as the server has it.
    #[must_use]
    pub fn by_server(&self, now: Moment) -> Moment {
        self.known.map_or(now, |known| now.by(known))
    }

    /// What the server's clock will read when ours reads `utc`.
    #[must_use]
    pub fn server_utc(&self, utc: Timestamp, now: Moment) -> Timestamp {
        utc.saturating_add(self.ahead(now).unwrap_or_default()).unwrap_or(utc)
    }

    /// By how much the server's clock is ahead of ours, if it was asked; less than zero if it is behind.
    #[must_use]
    pub fn ahead(&self, now: Moment) -> Option<SignedDuration> {
        self.known.map(|known| now.by(known).utc().duration_since(now.utc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::requests::NoAnswer;

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn at(seconds: u64) -> Moment {
        Moment::virtual_at(Duration::from_secs(seconds), start() + Duration::from_secs(seconds))
    }

    #[expect(clippy::unnecessary_wraps, reason = "a reply is a result")]
    fn time(utc: &str) -> Reply {
        let time = format!("<time xmlns='urn:xmpp:time'><tzo>-06:00</tzo><utc>{utc}</utc></time>");
        Ok(format!("<iq xmlns='jabber:client' type='result'>{time}</iq>").parse().unwrap())
    }

    fn asked(at: Moment) -> Clock {
        let mut clock = Clock::new(Dice::seeded(1));
        clock.connected(at);
        assert!(clock.tick(at) && !clock.tick(at), "once per session");
        clock
    }

    #[test]
    fn the_servers_time_counts_for_the_middle_between_question_and_answer() {
        let mut clock = asked(at(0));
        assert!(clock.answered(&time("2026-01-01T02:00:05Z"), at(10)));
        assert_eq!(clock.ahead(at(10)), Some(SignedDuration::from_hours(2)));
        assert_eq!(clock.by_server(at(60)).utc(), at(7260).utc());
        assert_eq!(clock.by_server(at(60)), at(60), "it is the same instant");
        assert_eq!(clock.server_utc(at(100).utc(), at(60)), at(7300).utc());
    }

    #[test]
    fn our_own_clock_may_be_set_without_any_effect_on_the_servers() {
        let mut clock = asked(at(0));
        clock.answered(&time("2026-01-01T00:00:00Z"), at(0));
        let set_back = Moment::virtual_at(Duration::from_mins(1), "2025-12-31T20:01:00Z".parse().unwrap());
        assert_eq!(clock.by_server(set_back).utc(), at(60).utc());
        assert_eq!(clock.ahead(set_back), Some(SignedDuration::from_hours(4)));
    }

    #[test]
    fn without_a_sensible_answer_our_own_clock_stands_in_and_the_server_is_not_asked_at_once_again() {
        for reply in [time("soon"), time("1970-01-01T00:00:00Z"), time("9999-12-31T23:59:59Z"), Err(NoAnswer::TimedOut)]
        {
            let mut clock = asked(at(0));
            assert!(!clock.answered(&reply, at(1)), "{reply:?}");
            assert_eq!((clock.by_server(at(5)).utc(), clock.ahead(at(5))), (at(5).utc(), None));
            assert!(clock.deadline().unwrap() >= at(2700));
        }
    }

    #[test]
    fn it_is_asked_now_and_then_and_in_every_session() {
        let mut clock = asked(at(0));
        clock.answered(&time("2026-01-01T00:00:09Z"), at(1));
        let due = clock.deadline().unwrap();
        assert!(due >= at(2700) && due <= at(4501));
        assert!(clock.tick(due));
        clock.disconnected();
        assert!(!clock.answered(&time("2026-01-01T03:00:00Z"), due), "an answer after the session tells nothing");
        assert_eq!(clock.deadline(), None);
        assert!(clock.ahead(due).is_some(), "what is known stays known");
        clock.connected(due);
        assert!(clock.tick(due));
    }
}
