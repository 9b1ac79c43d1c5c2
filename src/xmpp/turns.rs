//! The log-ins of all accounts: each waits for its turn at its server.
//!
//! Carries out what [`crate::protocol::logins`] decides. One waiting attempt takes a few hundred bytes and no file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::domain::moment::Moment;
use crate::metrics::Metrics;
use crate::protocol::logins::{LoginQueue, Ticket, Urgency};

/// The log-ins under way and waiting; cheap to clone.
#[derive(Clone, Debug)]
pub struct Logins {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: usize,
    metrics: Option<Arc<Metrics>>,
    servers: Mutex<BTreeMap<String, Server>>,
}

/// The attempts at one server; gone with the last of them.
#[derive(Debug)]
struct Server {
    queue: LoginQueue,
    told: BTreeMap<Ticket, oneshot::Sender<()>>,
}

impl Server {
    /// Tells whose turn it is. Returns how many slots were taken over for that.
    fn tell(&mut self) -> usize {
        let before = self.queue.without_slot();
        for ticket in self.queue.turns(Moment::now()) {
            // One that is given up at this moment leaves by itself.
            let _ = self.told.remove(&ticket).map(|told| told.send(()));
        }
        self.queue.without_slot() - before
    }
}

impl Logins {
    /// Makes room for so many log-ins at once at each server, and shows them in `metrics`.
    #[must_use]
    pub fn new(slots: usize, metrics: Option<Arc<Metrics>>) -> Self {
        Self { inner: Arc::new(Inner { slots, metrics, servers: Mutex::default() }) }
    }

    /// Returns when it is the turn of an account of `domain` to log in at `server`.
    pub async fn turn(&self, server: &str, domain: &str, urgency: Urgency) -> Turn {
        let (turn, mut turn_comes) = self.enter(server, domain, urgency);
        loop {
            let slot_falls_due = async {
                match self.deadline(server) {
                    Some(due) => sleep(Moment::now().until(due)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut turn_comes => return turn,
                () = slot_falls_due => self.tell(server),
            }
        }
    }

    fn enter(&self, server: &str, domain: &str, urgency: Urgency) -> (Turn, oneshot::Receiver<()>) {
        let (told, turn_comes) = oneshot::channel();
        let mut servers = self.servers();
        let of = servers
            .entry(server.to_owned())
            .or_insert_with(|| Server { queue: LoginQueue::new(self.inner.slots), told: BTreeMap::new() });
        let ticket = of.queue.enter(domain, urgency);
        of.told.insert(ticket, told);
        let taken_over = of.tell();
        self.show(&servers, taken_over);
        (Turn { logins: self.clone(), server: server.to_owned(), ticket, online: false }, turn_comes)
    }

    fn deadline(&self, server: &str) -> Option<Moment> {
        self.servers().get(server).and_then(|of| of.queue.deadline())
    }

    fn tell(&self, server: &str) {
        let mut servers = self.servers();
        let taken_over = servers.get_mut(server).map_or(0, Server::tell);
        self.show(&servers, taken_over);
    }

    fn leave(&self, turn: &Turn) {
        let mut servers = self.servers();
        let mut taken_over = 0;
        if let Some(of) = servers.get_mut(&turn.server) {
            of.told.remove(&turn.ticket);
            of.queue.leave(turn.ticket, turn.online, Moment::now());
            taken_over = of.tell();
            if of.queue.waiting() + of.queue.under_way() == 0 {
                servers.remove(&turn.server);
            }
        }
        self.show(&servers, taken_over);
    }

    fn show(&self, servers: &BTreeMap<String, Server>, taken_over: usize) {
        if let Some(metrics) = &self.inner.metrics {
            let sum = |of: fn(&LoginQueue) -> usize| servers.values().map(|server| of(&server.queue)).sum();
            metrics.logins(sum(LoginQueue::under_way), sum(LoginQueue::waiting), taken_over);
        }
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<String, Server>> {
        self.inner.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of one attempt; dropped when the attempt is over, however it ended.
#[derive(Debug)]
pub struct Turn {
    logins: Logins,
    server: String,
    ticket: Ticket,
    online: bool,
}

impl Turn {
    /// Says that the server answered.
    pub fn answered(&self) {
        if let Some(of) = self.logins.servers().get_mut(&self.server) {
            of.queue.answered(Moment::now());
        }
    }

    /// Ends it with a log-in that succeeded.
    pub fn succeeded(mut self) {
        self.online = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.logins.leave(self);
    }
}
