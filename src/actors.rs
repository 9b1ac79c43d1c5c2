//! The actors: thin shells that carry out what the protocol core decides.
//!
//! A [`fleet`] starts and stops a [`connection`] per account, which owns a [`subscription`] per node; all hand what
//! they receive to one [`router`], which commits it to the store and wakes a [`sink`] actor per sink. An actor that
//! panics leaves an obituary and is rebuilt from configuration and ledger, never from its old memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};
use tokio::sync::watch;

use crate::board::Board;
use crate::config::Onsip;
use crate::domain::moment::Moment;
use crate::domain::name::{AccountName, SinkName};
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::otel::Traces;
use crate::protocol::backoff::Dice;
use crate::store::{Store, StoreError};
use crate::xmpp::connector::Connector;
use crate::xmpp::session::{Bounds, Pulse};
use router::Router;

mod chronicle;
pub mod connection;
pub mod fleet;
mod ledger;
mod oversight;
pub mod router;
pub mod sink;
pub mod subscription;
#[cfg(test)]
mod tests;
mod trail;

/// A store that fails for so long, by what does not pass by itself, has failed for good.
pub(crate) const GIVE_UP: Duration = Duration::from_mins(1);
/// How long to wait for a router that is being rebuilt.
const REBUILD: Duration = Duration::from_millis(50);

/// What all actors share.
pub struct House {
    /// Where everything that lasts is written.
    pub store: Store,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is seen.
    pub board: Arc<Board>,
    /// How events are followed on their way.
    pub traces: Arc<Traces>,
    /// Where committed events are told.
    pub feed: Feed,
    router: RwLock<Option<Addr<Router>>>,
    /// The newest session of each account that had one.
    pulses: Mutex<BTreeMap<AccountName, Arc<Pulse>>>,
    /// Sinks whose queue is full and which want receiving to stop for it.
    full: watch::Sender<BTreeSet<SinkName>>,
    /// What the store has failed with for good, if it has.
    failed: watch::Sender<Option<StoreError>>,
}

/// How accounts reach the service; replaced as a whole when its configuration changes.
#[derive(Clone)]
pub struct Access {
    /// Opens streams.
    pub connector: Connector,
    /// What all sessions together may do.
    pub bounds: Bounds,
    /// What is particular to the service.
    pub onsip: Arc<Onsip>,
}

impl House {
    /// A house without inhabitants.
    #[must_use]
    pub fn new(store: Store, metrics: Arc<Metrics>, board: Arc<Board>, feed: Feed) -> Self {
        store.observe(&metrics);
        Self {
            store,
            metrics,
            board,
            traces: Arc::default(),
            feed,
            router: RwLock::new(None),
            pulses: Mutex::default(),
            full: watch::Sender::default(),
            failed: watch::Sender::default(),
        }
    }

    /// The same, with events followed on their way.
    #[must_use]
    pub fn with_traces(self, traces: Traces) -> Self {
        Self { traces: Arc::new(traces), ..self }
    }

    /// Whether receiving stops for this sink.
    fn is_full(&self, sink: &SinkName) -> bool {
        self.full.borrow().contains(sink)
    }

    fn set_full(&self, sink: &SinkName, full: bool) {
        self.full.send_if_modified(|sinks| if full { sinks.insert(sink.clone()) } else { sinks.remove(sink) });
    }

    fn pulses(&self) -> MutexGuard<'_, BTreeMap<AccountName, Arc<Pulse>>> {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down until when the events of each account that is covered could arrive, but not beyond `moment`: as long as its
    /// session is known to deliver.
    pub(crate) async fn extend_coverage(&self, moment: Moment) -> Result<(), StoreError> {
        let now = Moment::now();
        let delivered = |(name, pulse): (&AccountName, &Arc<Pulse>)| {
            (name.clone(), pulse.delivered().min(moment).set_back(now).utc())
        };
        let delivered = self.pulses().iter().map(delivered).collect();
        self.store.extend_coverage(delivered, now.utc()).await
    }

    /// Tells how much waits in the store.
    pub fn measure_store(&self) {
        self.metrics.store_load(self.store.waiting());
    }

    /// Returns once no sink wants receiving to stop.
    async fn room(&self) {
        // The sender lives as long as the house.
        let _ = self.full.subscribe().wait_for(BTreeSet::is_empty).await;
    }

    /// The store could not write or read.
    pub(crate) fn store_failed(&self, fault: &StoreError) {
        if let Some(fault) = fault.fault() {
            self.metrics.store_fault(fault);
        }
        if fault.is_final() {
            self.fail(fault);
        }
    }

    /// The store has failed for good: nothing is committed or acknowledged any more, and the process is to end.
    pub(crate) fn fail(&self, fault: &StoreError) {
        let first = self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| fault.clone());
            first
        });
        if first {
            self.board.view().store_fault = fault.fault();
            tracing::error!(%fault, "the store has failed for good: nothing is acknowledged any more, and the router ends");
        }
    }

    /// Whether nothing will be committed any more: the store was closed, or has failed for good.
    fn is_over(&self) -> bool {
        self.failed.borrow().is_some() || self.store.is_closed()
    }

    /// Returns once the store has failed for good, with what it failed with.
    pub async fn failed(&self) -> StoreError {
        let mut failed = self.failed.subscribe();
        tokio::select! {
            failed = failed.wait_for(Option::is_some) => {
                // The sender lives as long as the house.
                failed.ok().and_then(|failed| failed.clone()).unwrap_or(StoreError::Gone)
            }
            fault = self.store.ended() => {
                self.store_failed(&fault);
                fault
            }
        }
    }

    fn router(&self) -> Option<Addr<Router>> {
        self.router.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_router(&self, router: Addr<Router>) {
        *self.router.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    /// Hands something to the router and returns once it is committed, also if the router has to be rebuilt meanwhile. False
    /// if it never will be, because the store is closed or has failed for good: it must not be acknowledged.
    pub(crate) async fn commit<M>(&self, message: M) -> bool
    where
        M: Message<Result = bool> + Clone + Send + 'static,
        Router: Handler<M>,
    {
        loop {
            if let Some(router) = self.router()
                && router.send(message.clone()).await.is_ok_and(|committed| committed)
            {
                return true;
            }
            if self.is_over() {
                return false;
            }
            tokio::time::sleep(REBUILD).await;
        }
    }
}

/// Sent when its owner is dropped, however that came about.
struct Obituary<M: Message + Send + 'static>
where
    M::Result: Send,
{
    to: Recipient<M>,
    note: Option<M>,
}

impl<M: Message + Send + 'static> Obituary<M>
where
    M::Result: Send,
{
    fn new<A>(to: &Addr<A>, note: M) -> Self
    where
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        Self { to: to.clone().recipient(), note: Some(note) }
    }
}

impl<M: Message + Send + 'static> Drop for Obituary<M>
where
    M::Result: Send,
{
    fn drop(&mut self) {
        if let Some(note) = self.note.take() {
            // A fresh clone of an address always has one free slot, and a closed one has nobody to tell.
            let _ = self.to.try_send(note);
        }
    }
}

/// Dice of their own for every machine.
fn dice() -> Dice {
    Dice::seeded(rand::random())
}
