//! The newest events as they were committed: who delivers them at once need not read them back.
//!
//! What is at a position never changes, so nothing here can be out of date. Must not know who is owed an event.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::CommitEvent;

/// Bytes of bodies that are kept.
const MOST: usize = 8 << 20;

/// The newest events, by position.
#[derive(Debug, Default)]
pub(super) struct Recent {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    events: VecDeque<(i64, Arc<CommitEvent>)>,
    bytes: usize,
}

impl Recent {
    /// Keeps events that are on the disk now, in the order of their positions.
    pub(super) fn keep(&self, events: impl Iterator<Item = (i64, CommitEvent)>) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        for (position, event) in events {
            window.bytes += event.body.len();
            window.events.push_back((position, Arc::new(event)));
            while window.bytes > MOST {
                let Some((_, oldest)) = window.events.pop_front() else { break };
                window.bytes -= oldest.body.len();
            }
        }
    }

    /// The events at `positions`, one by one, where they are still here.
    pub(super) fn find(&self, positions: impl Iterator<Item = i64>) -> Vec<Option<Arc<CommitEvent>>> {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |position| window.events.binary_search_by_key(&position, |(position, _)| *position).ok();
        positions.map(|position| Some(Arc::clone(&window.events.get(at(position)?)?.1))).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::identity::Token;

    fn event(id: i64, bytes: usize) -> (i64, CommitEvent) {
        let event = CommitEvent {
            id: Token::of([id.to_string().as_str()]),
            partition: "call".to_owned(),
            received: Timestamp::UNIX_EPOCH,
            body: "x".repeat(bytes).into(),
            owed: Vec::new(),
        };
        (id, event)
    }

    #[test]
    fn the_newest_are_found_and_the_oldest_make_room() {
        let recent = Recent::default();
        let found = |positions: &[i64]| -> Vec<bool> {
            recent.find(positions.iter().copied()).iter().map(Option::is_some).collect()
        };
        recent.keep([event(1, MOST / 2), event(5, MOST / 4)].into_iter());
        assert_eq!(found(&[1, 2, 5, 9]), [true, false, true, false]);
        assert_eq!(recent.find([5].into_iter())[0].as_ref().unwrap().body.len(), MOST / 4);
        recent.keep([event(9, MOST / 2)].into_iter());
        assert_eq!(found(&[1, 5, 9]), [false, true, true], "the oldest had to make room");
        recent.keep([event(10, MOST + 1)].into_iter());
        assert_eq!(found(&[5, 9, 10]), [false; 3], "one that is too large is not kept");
        recent.keep([event(11, 1)].into_iter());
        assert_eq!(found(&[11]), [true]);
    }
}
