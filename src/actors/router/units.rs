//! The single things in the pieces of a round, in order: what is committed or left out as a whole.

use super::ageing::Age;
use super::rounds::{Piece, Place};
use super::{Batch, Cover, Deliver};
use crate::domain::moment::Moment;
use crate::domain::name::AccountName;
use crate::domain::status::RejectReason;
use crate::protocol::legs::Sighting;
use crate::protocol::notification::{Notification, Part};

/// One thing.
#[derive(Clone, Copy)]
pub(super) enum Unit<'a> {
    Seen(Sighting<'a>),
    Cover(&'a Cover),
    Age(&'a Age),
}

impl Unit<'_> {
    /// The account it concerns, if it is one's.
    pub(super) fn account(&self) -> Option<&AccountName> {
        match self {
            Self::Seen(sighting) => Some(&sighting.reception.account),
            Self::Cover(cover) => Some(&cover.account),
            Self::Age(_) => None,
        }
    }
}

/// Messages or parts of them that are no events.
pub(super) struct Rejected {
    /// The number of the piece, and where the message begins.
    pub(super) at: (usize, Place),
    pub(super) account: AccountName,
    pub(super) reason: RejectReason,
    pub(super) n: u64,
}

/// All things of a round.
pub(super) struct Units<'a> {
    /// Each with the number of its piece, and its place there.
    pub(super) all: Vec<((usize, Place), Unit<'a>)>,
    pub(super) rejected: Vec<Rejected>,
}

impl<'a> Units<'a> {
    /// The parts of all messages that may be believed, and all else there is to commit.
    pub(super) fn of(pieces: &'a [Piece], now: Moment) -> Self {
        let mut units = Self { all: Vec::with_capacity(pieces.len()), rejected: Vec::new() };
        for (n, piece) in pieces.iter().enumerate() {
            match &piece.batch {
                Batch::Deliver(deliver) => units.admit((n, piece), deliver, now),
                Batch::Cover(cover) => units.all.push(((n, Place::default()), Unit::Cover(cover))),
                Batch::Age(age) => units.all.push(((n, Place::default()), Unit::Age(age))),
            }
        }
        units
    }

    fn admit(&mut self, (n, piece): (usize, &Piece), deliver: &'a Deliver, now: Moment) {
        let Deliver { reception, notes, received } = deliver;
        // Should the clock have been set since, the receipt is told as it reads now: no event is years old at birth.
        let received = received.retold(now).utc();
        for (at, note) in notes.iter().enumerate().skip(piece.from.note) {
            let begin = Place { note: at, part: 0 };
            if piece.to.is_some_and(|to| begin >= to) {
                break;
            }
            // A message is counted with its first part.
            let counts = begin >= piece.from;
            let mut reject = |reason, n_of: u64| {
                if counts && n_of > 0 {
                    let account = reception.account.clone();
                    self.rejected.push(Rejected { at: (n, begin), account, reason, n: n_of });
                }
            };
            let service = match reception.admit(note) {
                Ok(service) => service,
                Err(reason) => {
                    reject(reason, 1);
                    continue;
                }
            };
            let Notification { malformed, oversize, ref parts, .. } = *note;
            reject(RejectReason::Malformed, malformed);
            reject(RejectReason::Oversize, oversize);
            let first = if counts { 0 } else { piece.from.part };
            for (part_at, part) in parts.iter().enumerate().skip(first) {
                let place = Place { note: at, part: part_at };
                if piece.to.is_some_and(|to| place >= to) {
                    break;
                }
                if !matches!(part, Part::Subscription(_)) {
                    let sighting = Sighting { reception, service, note, part, received };
                    self.all.push(((n, place), Unit::Seen(sighting)));
                }
            }
        }
    }

    /// Up to where each of `pieces` is committed if the first `count` things are: nothing where all of its batch is.
    pub(super) fn reached(&self, pieces: &[Piece], count: usize) -> Vec<Option<Place>> {
        let next = self.all.get(count).map(|(at, _)| *at);
        let place = |(n, piece): (usize, &Piece)| match next {
            Some((stopped, place)) if n == stopped => Some(place),
            Some((stopped, _)) if n > stopped => Some(piece.from),
            Some(_) | None => piece.to,
        };
        pieces.iter().enumerate().map(place).collect()
    }
}
