//! The feed: every event, told to whoever watches once it is committed.
//!
//! Bounded: a watcher that is too slow loses the oldest and learns how many, and only the newest are kept for who comes
//! later. Must not know who tells or who watches.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::broadcast::{self, Receiver};

use crate::domain::event::{Event, EventData, EventType, Origin};
use crate::domain::identity::Token;

mod mask;

/// Events a watcher may lag behind.
const CAPACITY: usize = 1024;
/// Events kept for who comes later.
pub const KEPT: usize = 200;

/// Where events are told and watched; clones are the same feed.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: broadcast::Sender<Arc<Told>>,
    kept: Arc<Mutex<VecDeque<Arc<Told>>>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { sender: broadcast::channel(CAPACITY).0, kept: Arc::default() }
    }
}

impl Feed {
    /// Tells an event to all who watch; nobody watching is no loss.
    pub fn tell(&self, told: Told) {
        let told = Arc::new(told);
        let mut kept = self.kept();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&told));
        let _ = self.sender.send(told);
    }

    /// Every event from now on.
    #[must_use]
    pub fn watch(&self) -> Receiver<Arc<Told>> {
        self.sender.subscribe()
    }

    /// The newest events, oldest first, and every one that follows them: none twice, and none missing between.
    #[must_use]
    pub fn watch_and_recall(&self) -> (Vec<Arc<Told>>, Receiver<Arc<Told>>) {
        let kept = self.kept();
        (kept.iter().cloned().collect(), self.watch())
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Told>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One committed event, with what a watcher may choose by.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its id.
    pub id: Token,
    /// Its type.
    pub kind: EventType,
    /// The account that received it, or whose gap it is.
    pub account: String,
    /// The short name of the service it came from; of a gap: of all the account's services.
    pub services: Vec<String>,
    /// The event as JSON, as the sinks get it.
    pub body: Arc<str>,
    /// The same with numbers masked, made when it is first asked for.
    masked: OnceLock<String>,
}

impl Told {
    /// `event`, which as JSON is `body`.
    #[must_use]
    pub fn new(event: &Event, body: Arc<str>) -> Self {
        let from = |origin: &Origin| (origin.account.clone(), vec![origin.service.clone()]);
        let (account, services) = match &event.data {
            EventData::Call(data) => from(&data.origin),
            EventData::Registration(data) => from(&data.origin),
            EventData::Item(data) => from(&data.origin),
            EventData::Gap(data) => (data.account.clone(), data.services.clone()),
            EventData::Canary(_) => (String::new(), Vec::new()), // never told: it is for one sink
        };
        Self::of(event.id.clone(), event.r#type, account, services, body)
    }

    /// An event of which only this is known.
    #[must_use]
    pub fn of(id: Token, kind: EventType, account: String, services: Vec<String>, body: Arc<str>) -> Self {
        Self { id, kind, account, services, body, masked: OnceLock::new() }
    }

    /// The event as JSON with the phone numbers in it masked.
    pub fn masked(&self) -> &str {
        self.masked.get_or_init(|| mask::masked(&self.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(n: usize) -> Told {
        Told::of(Token::of([n.to_string().as_str()]), EventType::CallEnded, "a".to_owned(), Vec::new(), "{}".into())
    }

    #[test]
    fn only_the_newest_are_kept_and_what_follows_them_is_not_among_them() {
        let feed = Feed::default();
        for n in 0..=KEPT {
            feed.tell(told(n));
        }
        let (kept, mut next) = feed.watch_and_recall();
        assert_eq!((kept.len(), &kept[0].id), (KEPT, &told(1).id));
        feed.tell(told(KEPT + 1));
        assert_eq!(next.try_recv().unwrap().id, told(KEPT + 1).id);
    }
}
