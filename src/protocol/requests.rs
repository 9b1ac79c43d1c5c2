//! The table of requests under way: which answer belongs to what, and when to stop waiting.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use minidom::Element;
use xmpp_parsers::jid::{BareJid, Jid};

use super::stanza::Refusal;
use crate::domain::moment::Moment;

/// What became of a request: the `result` stanza, or why there is none.
pub type Reply = Result<Element, NoAnswer>;

/// Why a request brought no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The service said no.
    Refused(Refusal),
    /// Nothing came in time.
    TimedOut,
    /// The connection went away first.
    Disconnected,
}

impl NoAnswer {
    /// Whether the same request may well succeed later (protocol sheet section 6.7, last rows).
    #[must_use]
    pub fn may_pass(&self) -> bool {
        const PASSING: [&str; 5] = [
            "service-unavailable",
            "remote-server-timeout",
            "remote-server-not-found",
            "internal-server-error",
            "resource-constraint",
        ];
        match self {
            Self::Refused(refusal) => refusal.wait || PASSING.iter().any(|condition| refusal.is(condition)),
            Self::TimedOut | Self::Disconnected => true,
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Disconnected => f.write_str("the connection went away"),
        }
    }
}

/// Requests under way, each with its owner's tag `T` and a deadline.
#[derive(Debug)]
pub struct Requests<T> {
    last: u64,
    patience: Duration,
    open: BTreeMap<u64, Open<T>>,
    /// When an answer came last.
    heard: Option<Moment>,
    doubted: Option<Moment>,
}

#[derive(Debug)]
struct Open<T> {
    to: BareJid,
    deadline: Moment,
    tag: T,
}

impl<T> Requests<T> {
    /// A table whose requests wait for at most `patience`.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { last: 0, patience, open: BTreeMap::new(), heard: None, doubted: None }
    }

    /// Enters a request to `to`; the stanza must carry the returned id.
    pub fn open(&mut self, to: BareJid, tag: T, now: Moment) -> String {
        self.last += 1;
        self.open.insert(self.last, Open { to, deadline: now + self.patience, tag });
        format!("r{}", self.last)
    }

    /// Takes out the request that an answer with this id belongs to. An answer counts only if it comes from where the
    /// request went (RFC 6120 section 8.1.2.1): an id alone can be guessed.
    pub fn answered(&mut self, id: &str, from: Option<&Jid>, now: Moment) -> Option<T> {
        let number = id.strip_prefix('r')?.parse().ok()?;
        let to = &self.open.get(&number)?.to;
        if from.is_some_and(|from| from.resource().is_none() && from.to_bare() == *to) {
            (self.heard, self.doubted) = (Some(now), None);
            self.open.remove(&number).map(|open| open.tag)
        } else {
            None
        }
    }

    /// Takes out what has waited too long. All wait equally long, so the oldest come first.
    pub fn expired(&mut self, now: Moment) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some(entry) = self.open.first_entry()
            && entry.get().deadline <= now
        {
            let Open { deadline, tag, .. } = entry.remove();
            self.doubted = self.doubted.or(self.heard).or(Some(deadline - self.patience));
            expired.push(tag);
        }
        expired
    }

    /// While a request was left unanswered, and all after it: the last moment at which the link was seen to deliver. It may
    /// deliver nothing since, though it answers pings.
    #[must_use]
    pub fn doubted(&self) -> Option<Moment> {
        self.doubted
    }

    /// Takes out everything: the connection is gone.
    pub fn abandon(&mut self) -> Vec<T> {
        (self.heard, self.doubted) = (None, None);
        std::mem::take(&mut self.open).into_values().map(|open| open.tag).collect()
    }

    /// When [`Self::expired`] next has something to say.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.open.first_key_value().map(|(_, open)| open.deadline)
    }

    /// How many are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::virtual_at(Duration::from_secs(seconds), "2026-01-01T00:00:00Z".parse().unwrap())
    }

    fn jid(text: &str) -> Jid {
        Jid::new(text).unwrap()
    }

    #[test]
    fn an_answer_counts_once_and_only_from_where_the_request_went() {
        let mut requests = Requests::new(Duration::from_secs(20));
        let id = requests.open(BareJid::new("pubsub.x").unwrap(), "list", at(0));
        assert_eq!(requests.answered(&id, Some(&jid("evil.x")), at(1)), None);
        assert_eq!(requests.answered(&id, None, at(1)), None);
        assert_eq!(requests.answered("r99", Some(&jid("pubsub.x")), at(1)), None);
        assert_eq!(requests.answered(&id, Some(&jid("pubsub.x")), at(1)), Some("list"));
        assert_eq!(requests.answered(&id, Some(&jid("pubsub.x")), at(1)), None);
    }

    #[test]
    fn what_waits_too_long_expires_and_nothing_else() {
        let mut requests = Requests::new(Duration::from_secs(20));
        let to = BareJid::new("pubsub.x").unwrap();
        requests.open(to.clone(), 1, at(0));
        requests.open(to, 2, at(5));
        assert_eq!(requests.deadline(), Some(at(20)));
        assert!(requests.expired(at(19)).is_empty());
        assert_eq!(requests.expired(at(20)), [1]);
        assert_eq!(requests.abandon(), [2]);
        assert!(requests.is_empty());
    }

    #[test]
    fn an_unanswered_request_casts_doubt_back_to_the_last_answer_until_there_is_another() {
        let mut requests = Requests::new(Duration::from_secs(20));
        let (to, from) = (BareJid::new("pubsub.x").unwrap(), jid("pubsub.x"));
        requests.open(to.clone(), 1, at(0));
        requests.expired(at(20));
        assert_eq!(requests.doubted(), Some(at(0)), "before the first answer, since it was asked");
        let id = requests.open(to.clone(), 2, at(30));
        requests.answered(&id, Some(&from), at(31));
        assert_eq!(requests.doubted(), None);
        requests.open(to.clone(), 3, at(40));
        requests.open(to.clone(), 4, at(45));
        requests.expired(at(65));
        assert_eq!(requests.doubted(), Some(at(31)));
        let id = requests.open(to, 5, at(66));
        requests.answered(&id, Some(&from), at(67));
        assert_eq!(requests.doubted(), None);
        requests.abandon();
        assert_eq!(requests.doubted(), None);
    }
}
