//! The feed: every event, told to whoever watches once it is committed.
//!
//! Bounded: a watcher that is too slow loses the oldest and learns how many. Must not know who tells or who watches.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::domain::event::{Event, EventData, EventType, Origin};
use crate::domain::identity::Token;

/// Events a watcher may lag behind.
const CAPACITY: usize = 1024;

/// Where events are told and watched; clones are the same feed.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: broadcast::Sender<Arc<Told>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { sender: broadcast::channel(CAPACITY).0 }
    }
}

impl Feed {
    /// Tells an event to all who watch; nobody watching is no loss.
    pub fn tell(&self, told: Told) {
        let _ = self.sender.send(Arc::new(told));
    }

    /// Every event from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Told>> {
        self.sender.subscribe()
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
        };
        Self { id: event.id.clone(), kind: event.r#type, account, services, body }
    }
}
