//! The newest events as they were committed: who delivers them at once need not read them back.
//!
//! What is at a position never changes, so nothing here can be out of date. Must not know who is owed an event.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::CommitEvent;

/// Bytes of bodies that are kept.
const MOST: usize = 4 << 20;

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

    /// Those of `positions` that are still here.
    pub(super) fn find(&self, positions: impl Iterator<Item = i64>) -> HashMap<i64, Arc<CommitEvent>> {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |position| window.events.binary_search_by_key(&position, |(position, _)| *position);
        let event = |position| Some((position, Arc::clone(&window.events.get(at(position).ok()?)?.1)));
        positions.filter_map(event).collect()
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
        recent.keep([event(1, MOST / 2), event(5, MOST / 4)].into_iter());
        assert_eq!(recent.find([1, 2, 5, 9].into_iter()).len(), 2);
        recent.keep([event(9, MOST / 2)].into_iter());
        let found = recent.find([1, 5, 9].into_iter());
        assert!(!found.contains_key(&1), "it had to make room");
        assert_eq!(found[&5].body.len(), MOST / 4);
        recent.keep([event(10, MOST + 1)].into_iter());
        assert!(recent.find([5, 9, 10].into_iter()).is_empty(), "one that is too large is not kept");
        recent.keep([event(11, 1)].into_iter());
        assert_eq!(recent.find([11].into_iter()).len(), 1);
    }
}
