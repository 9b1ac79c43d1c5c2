//! Fair rounds: what goes into one commit of all that waits for one.
//!
//! A large batch is committed in pieces, and after each it stands behind all others, so that no account waits for another's
//! hostile message longer than a piece takes. Decides by bytes of what comes out, as they are estimated; what really comes
//! out may end a round before. Must not know what a commit does.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::{Batch, Deliver};
use crate::domain::limits::{PIECE_BYTES, ROUND_BYTES};

/// A place in the messages of a batch: the number of a message, and of a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) note: usize,
    pub(super) part: usize,
}

/// A piece of a batch, from a place to another one or, without that, to the end.
pub(super) struct Piece {
    pub(super) batch: Batch,
    pub(super) from: Place,
    pub(super) to: Option<Place>,
}

/// A batch that waits until all of it is committed.
pub(super) struct Waiting {
    batch: Batch,
    /// Before this place it is.
    from: Place,
    asker: oneshot::Sender<bool>,
}

/// All that wait, the next in front.
#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<Waiting>,
    /// Those of which a piece is being committed.
    busy: Vec<Waiting>,
}

impl Line {
    /// Adds a batch; `asker` is told once all of it is committed.
    pub(super) fn add(&mut self, batch: Batch, asker: oneshot::Sender<bool>) {
        self.waiting.push_back(Waiting { batch, from: Place::default(), asker });
    }

    /// Returns how many batches wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the pieces of the next round; none while one is under way.
    pub(super) fn take(&mut self) -> Vec<Piece> {
        let (mut pieces, mut room) = (Vec::new(), ROUND_BYTES);
        if !self.busy.is_empty() {
            return pieces;
        }
        while let Some(next) = self.waiting.front() {
            let (to, bytes) = end(&next.batch, next.from, PIECE_BYTES.min(room));
            pieces.push(Piece { batch: next.batch.clone(), from: next.from, to });
            self.busy.extend(self.waiting.pop_front());
            room = room.saturating_sub(bytes);
            if room == 0 {
                break;
            }
        }
        pieces
    }

    /// The round is over: each of its pieces is committed up to the place in `reached` or, without that, to its batch's end.
    /// What is left goes behind the others.
    pub(super) fn done(&mut self, reached: Vec<Option<Place>>) {
        for (waiting, place) in std::mem::take(&mut self.busy).into_iter().zip(reached) {
            match place {
                Some(from) => self.waiting.push_back(Waiting { from, ..waiting }),
                // Whoever has gone away needs no answer.
                None => drop(waiting.asker.send(true)),
            }
        }
    }

    /// Nothing is committed any more: whoever waits is told nothing.
    pub(super) fn give_up(&mut self) {
        *self = Self::default();
    }
}

/// Returns where the piece of `batch` from `from` on ends that has at least one part and else no more than `most` bytes, and
/// how many bytes it has.
fn end(batch: &Batch, from: Place, most: usize) -> (Option<Place>, usize) {
    let Batch::Deliver(Deliver { notes, .. }) = batch else { return (None, 1) };
    let mut bytes = 0;
    for (n, note) in notes.iter().enumerate().skip(from.note) {
        let headers = note.headers();
        let first = if n == from.note { from.part } else { 0 };
        for (p, part) in note.parts.iter().enumerate().skip(first) {
            let more = part.output(headers);
            let place = Place { note: n, part: p };
            if bytes + more > most && place > from {
                return (Some(place), bytes);
            }
            bytes += more;
        }
    }
    (None, bytes.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FullJid;
    use crate::domain::moment::Moment;
    use crate::protocol::admission::Reception;
    use crate::protocol::notification::{Notification, Part};

    fn batch(notes: &[usize]) -> Batch {
        let retract = || Part::Retract { node: "n".repeat(800).as_str().into(), item: "i".into() };
        let notes =
            notes.iter().map(|parts| Notification { parts: vec![retract(); *parts], ..Notification::default() });
        let reception = Reception {
            account: "front".parse().unwrap(),
            domain: "b".into(),
            own: FullJid::new("a@b/c").unwrap(),
            services: Vec::new(),
            subids: Vec::new(),
        };
        Batch::Deliver(Deliver { reception: reception.into(), notes: notes.collect(), received: Moment::now() })
    }

    fn add(line: &mut Line, batch: Batch) -> oneshot::Receiver<bool> {
        let (asker, answer) = oneshot::channel();
        line.add(batch, asker);
        answer
    }

    #[test]
    fn c2_a_small_batch_goes_with_the_next_round_whatever_waits_before_it() {
        let mut line = Line::default();
        let hostile: Vec<_> = (0..4).map(|_| add(&mut line, batch(&[500]))).collect();
        let mut healthy = add(&mut line, batch(&[1]));
        let pieces = line.take();
        assert_eq!(pieces.len(), 5);
        assert!(line.take().is_empty(), "one round at a time");
        let of = |piece: &Piece| end(&piece.batch, piece.from, PIECE_BYTES).1;
        assert!(pieces.iter().all(|piece| of(piece) <= PIECE_BYTES));
        line.done(pieces.iter().map(|piece| piece.to).collect());
        assert_eq!(healthy.try_recv(), Ok(true));
        let mut rounds = 1;
        while line.len() > 0 {
            rounds += 1;
            let reached = line.take().iter().map(|piece| piece.to).collect();
            line.done(reached);
        }
        assert!((30..60).contains(&rounds), "{rounds}");
        assert!(hostile.into_iter().all(|mut answer| answer.try_recv() == Ok(true)));
    }

    #[test]
    fn c2_every_part_is_in_one_piece_and_in_its_order() {
        let all = batch(&[0, 3, 40, 0, 1, 30, 0]);
        let Batch::Deliver(Deliver { notes, .. }) = &all else { return };
        let mut expected: Vec<Place> = Vec::new();
        for (note, parts) in notes.iter().map(|note| note.parts.len()).enumerate() {
            expected.extend((0..parts).map(|part| Place { note, part }));
        }
        for most in [1, 4000, 20_000, 1 << 20] {
            let (mut from, mut ends) = (Place::default(), Vec::new());
            while let (Some(to), _) = end(&all, from, most) {
                assert!(to > from, "it goes on");
                ends.push(to);
                from = to;
            }
            assert!(ends.is_sorted() && ends.iter().all(|place| expected.contains(place)), "{ends:?}");
            assert_eq!(ends.is_empty(), most == 1 << 20);
        }
    }
}
