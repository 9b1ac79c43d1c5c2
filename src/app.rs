//! The application: the only file that knows all others. `run`, `demo` and tests start it for real.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use tokio::sync::broadcast::Receiver;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::actors::fleet::{Apply, Changes, Fleet, Shutdown};
use crate::actors::router::read_coverage;
use crate::actors::sink::Reopen;
use crate::actors::{GIVE_UP, House};
use crate::board::{AccountStatus, Board};
use crate::config::Config;
use crate::domain::moment::Moment;
use crate::domain::status::{AccountState, StoreFault};
use crate::feed::{Feed, Told};
use crate::http::{self, Server};
use crate::metrics::Metrics;
use crate::metrics::history::STEP;
use crate::otel::{self, Traces};
use crate::store::{OpenError, Room, Store, StoreError};

/// How often it is written down that what is covered still is.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the store's room and queue are measured.
const MEASURING: Duration = Duration::from_secs(10);
/// How often it is looked whether the database is where it was opened.
const LOOKING: Duration = Duration::from_secs(1);
/// How often the store writes down what may be written down later, and lets go of what nobody needs.
const UPKEEP: Duration = Duration::from_millis(500);
/// How long the store gets to close.
const CLOSING: Duration = Duration::from_secs(1);

/// A running router.
pub struct App {
    board: Arc<Board>,
    house: Arc<House>,
    fleet: Addr<Fleet>,
    http: Server,
    upkeep: [tokio::task::JoinHandle<()>; 5],
}

/// Why the router did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address of `[http]` cannot be had.
    #[error("http.listen: cannot listen on {addr}: {fault}")]
    Http {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        fault: io::Error,
    },
    /// The database of `[store]` cannot be had.
    #[error("store.url: {0}")]
    Store(OpenError),
    /// The means to connect cannot be made.
    #[error("xmpp: {0}")]
    Xmpp(io::Error),
    /// The metrics clash with each other.
    #[error("metrics: {0}")]
    Metrics(crate::metrics::Error),
    /// Traces cannot be exported.
    #[error("otel: {0}")]
    Otel(otel::StartError),
    /// The actors are gone before they began.
    #[error("the actors did not start")]
    Actors,
}

// What each says has its fault in it already: as a source it would be told twice.
impl From<OpenError> for StartError {
    fn from(fault: OpenError) -> Self {
        Self::Store(fault)
    }
}

impl From<crate::metrics::Error> for StartError {
    fn from(fault: crate::metrics::Error) -> Self {
        Self::Metrics(fault)
    }
}

impl From<otel::StartError> for StartError {
    fn from(fault: otel::StartError) -> Self {
        Self::Otel(fault)
    }
}

/// Why a new configuration was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The means to connect cannot be made.
    #[error("xmpp: {0}")]
    Xmpp(io::Error),
    /// Only a restart can change this section.
    #[error("{0} cannot change while running: restart instead")]
    Fixed(&'static str),
    /// The fleet is gone.
    #[error("the router is stopping")]
    Stopping,
}

impl App {
    /// Starts everything: first the listener, then the store, then sinks and accounts. Must run inside an actix system.
    ///
    /// # Errors
    /// If the address, the database or the certificates cannot be had. Nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let addr = config.http.listen;
        let unheard = |fault| StartError::Http { addr, fault };
        let listener = http::listen(&config.http).map_err(unheard)?;
        let services = config.accounts.values().flat_map(|account| account.subscribe.iter().map(|(s, _)| s.name()));
        let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("ONSIP_ROUTER_COMMIT"));
        let metrics = Metrics::new(version, commit, config.accounts.keys(), services, config.sinks.keys())?;
        metrics.limit(config.metrics);
        let (board, metrics, feed) = (Arc::new(Board::default()), Arc::new(metrics), Feed::default());
        let http = listener.serve(Arc::clone(&board), Arc::clone(&metrics), feed.clone()).map_err(unheard)?;
        tracing::info!("listening on http://{}", http.addr());
        let started = Self::start_behind(config, board, metrics, feed, http.clone()).await;
        if started.is_err() {
            http.stop(false).await;
        }
        started
    }

    async fn start_behind(
        config: Config,
        board: Arc<Board>,
        metrics: Arc<Metrics>,
        feed: Feed,
        http: Server,
    ) -> Result<Self, StartError> {
        let traces = Traces::start(&config.otel, &config.instance)?;
        let store = Store::open(&config.store).await?;
        let house = Arc::new(House::new(store, metrics, Arc::clone(&board), feed).with_traces(traces));
        recall_windows(&house, &config).await;
        let fleet = Fleet::new(Arc::clone(&house)).start();
        fleet.send(Apply(config)).await.map_err(|_| StartError::Actors)?.map_err(StartError::Xmpp)?;
        board.view().store_open = true;
        let upkeep = [
            actix::spawn(keep_up(Arc::clone(&house))),
            actix::spawn(stay_covered(Arc::clone(&house))),
            actix::spawn(measure(Arc::clone(&house))),
            actix::spawn(watch_over(Arc::clone(&house))),
            actix::spawn(remember(Arc::clone(&house))),
        ];
        Ok(Self { board, house, fleet, http, upkeep })
    }

    /// Where `/metrics` and the status page are.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http.addr()
    }

    /// What is seen.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// What is counted, also after the end.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.house.metrics)
    }

    /// Every event from now on, once it is committed. Who lags behind loses the oldest.
    #[must_use]
    pub fn feed(&self) -> Receiver<Arc<Told>> {
        self.house.feed.watch()
    }

    /// Takes over a new configuration, and has files reopened.
    ///
    /// # Errors
    /// If it cannot be taken over; then nothing changes.
    pub async fn reload(&self, old: &Config, new: Config) -> Result<Changes, ReloadError> {
        if old.store != new.store {
            return Err(ReloadError::Fixed("store"));
        }
        if old.http != new.http {
            return Err(ReloadError::Fixed("http"));
        }
        if old.otel != new.otel {
            return Err(ReloadError::Fixed("otel"));
        }
        let changes =
            self.fleet.send(Apply(new)).await.map_err(|_| ReloadError::Stopping)?.map_err(ReloadError::Xmpp)?;
        self.fleet.send(Reopen).await.map_err(|_| ReloadError::Stopping)?;
        Ok(changes)
    }

    /// Returns once the store has failed for good, with what it failed with: the process is to end then.
    pub async fn failed(&self) -> StoreError {
        self.house.failed().await
    }

    /// Counts a reload.
    pub fn reloaded(&self, applied: bool) {
        self.house.metrics.config_reload(applied);
    }

    /// Stops in good order, within ten seconds whatever hangs. Subscriptions are kept at the service. Returns what keeps
    /// the store from being found at the next start as it is now, if anything does.
    pub async fn stop(self) -> Option<StoreError> {
        self.upkeep.iter().for_each(tokio::task::JoinHandle::abort);
        let covered = Moment::now();
        if self.fleet.send(Shutdown { covered }).await.is_err() {
            tracing::error!("the fleet was gone before the end");
        }
        // Only now: a beginning of coverage that was still on its way is written by then.
        let _ = timeout(CLOSING, covered_until(&self.house, covered)).await;
        let fault = match timeout(CLOSING, self.house.store.close()).await {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => {
                tracing::error!(%fault, "the store did not close cleanly");
                Some(fault).filter(StoreError::lasts)
            }
            Err(_) => {
                tracing::warn!("the store did not close in time");
                None
            }
        };
        self.house.traces.stop().await;
        self.http.stop(false).await;
        fault
    }
}

/// Shows since when the accounts have been blind, before they begin.
async fn recall_windows(house: &House, config: &Config) {
    let since = Moment::now().utc();
    let coverage = house.store.coverage().await.unwrap_or_else(|fault| {
        tracing::error!(%fault, "until when events could arrive could not be read");
        Vec::new()
    });
    for written in coverage {
        if config.accounts.get(&written.account).is_some_and(|account| account.enabled) {
            let status = AccountStatus::new(AccountState::Connecting, since);
            let status = AccountStatus { blind: Some(read_coverage(&written).window(since)), ..status };
            house.board.view().accounts.insert(written.account, status);
        }
    }
}

/// A restart takes the last of these as the beginning of what it missed.
async fn stay_covered(house: Arc<House>) {
    let mut failing = None;
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let now = Moment::now();
        let Err(fault) = covered_until(&house, now).await else {
            failing = None;
            continue;
        };
        house.store_failed(&fault);
        // Where no events come, nobody else finds out.
        if fault.lasts() && now.since(*failing.get_or_insert(now)) >= GIVE_UP {
            house.fail(&fault);
        }
    }
}

/// Notices that the database was removed or moved away: where no events come, nobody else finds out.
async fn watch_over(house: Arc<House>) {
    let mut absent = None;
    loop {
        tokio::time::sleep(LOOKING).await;
        match house.store.look().await {
            Ok(()) => {
                if absent.take().is_some() {
                    tracing::info!("the database is where it was opened again");
                    let mut view = house.board.view();
                    view.store_fault = view.store_fault.filter(|fault| *fault != StoreFault::Moved);
                }
            }
            Err(fault) => {
                let now = Moment::now();
                house.board.view().store_fault = fault.fault();
                if absent.is_none() {
                    tracing::error!(%fault, "events cannot be committed; receiving stops until they can");
                    house.store_failed(&fault);
                }
                if now.since(*absent.get_or_insert(now)) >= GIVE_UP {
                    house.fail(&fault);
                }
            }
        }
    }
}

/// Asks the store for what it tells nobody unasked.
async fn measure(house: Arc<House>) {
    loop {
        house.measure_store();
        house.store.measure();
        match house.store.room().await {
            Ok(Room { used, free, size }) => house.metrics.store_room(used, free, size),
            Err(fault) => tracing::debug!(%fault, "the room for the database could not be measured"),
        }
        tokio::time::sleep(MEASURING).await;
    }
}

async fn covered_until(house: &House, moment: Moment) -> Result<(), StoreError> {
    let written = house.extend_coverage(moment).await;
    if let Err(fault) = &written {
        tracing::warn!(%fault, "the time of coverage could not be written");
    }
    written
}

/// What is counted becomes history.
async fn remember(house: Arc<House>) {
    let mut step = interval(STEP);
    step.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        step.tick().await;
        house.metrics.sample(Moment::now());
    }
}

/// Has the store write down what may be written down later, and let go of what nobody needs.
async fn keep_up(house: Arc<House>) {
    let mut failing = None;
    loop {
        tokio::time::sleep(UPKEEP).await;
        match house.store.keep_up().await {
            Ok(()) => failing = None,
            Err(StoreError::Closed) => return,
            Err(fault) => {
                // It is tried again and again; what events meet is told where they do.
                if failing.replace(fault.fault()) != Some(fault.fault()) {
                    tracing::warn!(%fault, "the store could not be kept in order; it is tried again");
                    house.store_failed(&fault);
                }
            }
        }
    }
}
