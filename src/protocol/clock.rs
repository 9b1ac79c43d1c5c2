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
/// Before and after these no service tells its true time. Ours may be anything: a machine without a battery wakes up in
/// 1970.
const SANE: (i64, i64) = (1_577_836_800, 4_102_444_800); // 2020 and 2100
/// An authorization lasts an hour (protocol sheet section 4). One that ends later than this from now, by our clock, says
/// that ours is behind the service's.
const LONGEST_GRANT: SignedDuration = SignedDuration::from_hours(2);
/// A grant's usual length.
const USUAL_GRANT: SignedDuration = SignedDuration::from_hours(1);
/// Clocks that differ by this much are the same: answers take a while, and clocks are slewed.
const SAME: SignedDuration = SignedDuration::from_secs(5);

/// What is known of the server's clock.
#[derive(Clone, Debug)]
pub struct Clock {
    /// An instant, with UTC as the server has it.
    known: Option<Moment>,
    /// While nothing is known: an instant, with a UTC that the service's clock shows about then. Ours is behind it.
    surmised: Option<Moment>,
    /// When the question under way was asked.
    asked: Option<Moment>,
    ask_at: Option<Moment>,
    dice: Dice,
}

impl Clock {
    /// A clock nobody asked for yet; until then ours stands in.
    #[must_use]
    pub fn new(dice: Dice) -> Self {
        Self { known: None, surmised: None, asked: None, ask_at: None, dice }
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
        let sane = |utc: &Timestamp| (SANE.0..SANE.1).contains(&utc.as_second());
        let Some(utc) = told.filter(sane) else { return false };
        self.known = Some(middle.reading(utc));
        self.surmised = None;
        true
    }

    /// The service granted something until `expires`. Where it does not tell its time, that shows that our clock is
    /// behind, and about by how much. Returns that, if so. A clock of ours that is ahead does no harm: leases last longer.
    pub fn granted(&mut self, expires: Timestamp, now: Moment) -> Option<SignedDuration> {
        let sane = self.known.is_none() && (SANE.0..SANE.1).contains(&expires.as_second());
        let behind = sane && expires.duration_since(now.utc()) > LONGEST_GRANT;
        let utc = expires.checked_sub(USUAL_GRANT).ok().filter(|_| behind);
        self.surmised = utc.map(|utc| now.reading(utc));
        self.ahead(now)
    }

    /// This machine's clock was set, or stood still while the machine slept: the service is asked anew.
    pub fn stepped(&mut self, now: Moment) {
        if self.asked.is_some() || self.ask_at.is_some() {
            self.ask_at = Some(now);
        }
    }

    /// Whether the service told its time.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known.is_some()
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

    /// By how much the server's clock is ahead of ours, if that is known or surmised; less than zero if it is behind.
    #[must_use]
    pub fn ahead(&self, now: Moment) -> Option<SignedDuration> {
        self.known.or(self.surmised).map(|known| now.by(known).utc().duration_since(now.utc()))
    }
}

/// Whether two readings of UTC are so far apart that what ends by one does not end by the other.
#[must_use]
pub fn differ(one: Timestamp, other: Timestamp) -> bool {
    one.duration_since(other).abs() > SAME
}

/// Notices when this machine's wall clock is set, or when the machine slept: its UTC and its monotonic clock then do not
/// agree on how much time has passed.
#[derive(Clone, Copy, Debug)]
pub struct StepWatch(Moment);

impl StepWatch {
    /// Begins with a first reading.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self(now)
    }

    /// Returns by how much UTC went further than the time that has passed since the last reading, if that is a step.
    pub fn step(&mut self, now: Moment) -> Option<SignedDuration> {
        let expected = now.by(std::mem::replace(&mut self.0, now)).utc();
        differ(now.utc(), expected).then(|| now.utc().duration_since(expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::requests::NoAnswer;

    #[test]
    fn c6_a_service_that_is_days_or_decades_away_is_believed() {
        for (utc, days) in [("2026-01-03T00:00:00Z", 2), ("2025-12-30T00:00:00Z", -2), ("2046-01-01T00:00:00Z", 7305)] {
            let mut clock = asked(at(0));
            assert!(clock.answered(&time(utc), at(0)), "{utc}");
            assert_eq!(clock.ahead(at(0)), Some(SignedDuration::from_hours(24 * days)));
            assert_eq!(clock.server_utc(at(100).utc(), at(0)), at(100).utc() + SignedDuration::from_hours(24 * days));
        }
    }

    #[test]
    fn c6_a_grant_that_ends_too_late_shows_that_our_clock_is_behind_where_the_service_does_not_tell_its_time() {
        let mut clock = asked(at(0));
        assert!(!clock.answered(&Err(NoAnswer::TimedOut), at(1)));
        assert_eq!(clock.granted(at(3600).utc(), at(1)), None, "an hour is what is granted");
        let end = at(48 * 3600 + 3600 + 1).utc();
        assert_eq!(clock.granted(end, at(1)), Some(SignedDuration::from_hours(48)));
        assert_eq!(clock.server_utc(at(7200).utc(), at(1)), at(48 * 3600 + 7200).utc());
        assert_eq!(clock.by_server(at(1)).utc(), at(1).utc(), "nothing is ended by what is only surmised");
        assert_eq!(
            clock.granted("2012-01-01T00:00:00Z".parse().unwrap(), at(1)),
            None,
            "an end that is over says nothing"
        );
        clock.connected(at(2));
        assert!(clock.tick(at(2)) && clock.answered(&time("2026-01-01T00:00:02Z"), at(2)));
        assert_eq!(clock.granted(end, at(2)), Some(SignedDuration::ZERO), "what is known is not surmised");
    }

    #[test]
    fn c6_a_step_of_our_own_clock_is_noticed_both_ways_and_the_service_asked_anew() {
        let mut watch = StepWatch::new(at(0));
        assert_eq!(watch.step(at(3600)), None, "time passes");
        for hours in [48, -48, 1, -1] {
            let set = Moment::virtual_at(Duration::from_secs(3605), at(3605).utc() + SignedDuration::from_hours(hours));
            assert_eq!(watch.step(set), Some(SignedDuration::from_hours(hours)));
            assert_eq!(watch.step(at(3600)), Some(SignedDuration::from_hours(-hours)));
        }
        let slewed = Moment::virtual_at(Duration::from_secs(3605), at(3608).utc());
        assert_eq!(watch.step(slewed), None);
        let mut clock = asked(at(0));
        clock.answered(&time("2026-01-01T00:00:00Z"), at(0));
        clock.stepped(at(10));
        assert!(clock.tick(at(10)));
        clock.disconnected();
        clock.stepped(at(20));
        assert!(!clock.tick(at(20)), "there is nobody to ask");
    }

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
