//! A simulated OnSIP: log-in, authorization, PubSub with approval, leases and limits, calls, and every way it can go wrong.
//!
//! It speaks real XMPP over TCP and follows `onsip-protocol` sheet sections 3 to 9 and 16. [`Switchboard`] is the service
//! itself, a pure state machine; [`Simulator`] gives it sockets, a clock and the hands of a test. `demo`, `simulate` and
//! the integration tests run on it. Must not know anything of the router but the words of [`crate::domain`].
//!
//! A scenario:
//!
//! ```no_run
//! # use std::time::Duration;
//! # use onsip_router::simulator::{Approval, Options, Request, Simulator};
//! # async fn scenario() -> anyhow::Result<()> {
//! let onsip = Simulator::start(Options::default()).await?;
//! let anna = onsip.account("anna@acme.test", "secret")?;
//! onsip.behave(&anna, |b| b.approval = Approval::Deny(Duration::from_millis(50)));
//! // ... start a client for onsip.addr() ...
//! assert!(onsip.until(Duration::from_secs(5), |o| o.observed().count(&anna, Request::Subscribe) == 1).await);
//! let mut call = onsip.call_in("anna@acme.test", "sip:+12125550111@carrier.test", 2);
//! onsip.answer(&mut call, 0);
//! onsip.hang_up(&mut call);
//! # Ok(())
//! # }
//! ```

mod authorization;
mod behaviour;
mod blast;
mod calls;
mod commands;
mod configuration;
mod connection;
mod delivery;
mod dice;
mod directory;
mod faults;
mod login;
mod management;
mod markup;
mod mischief;
mod names;
mod node;
mod observed;
#[cfg(test)]
mod over_tcp;
mod payload;
mod pubsub;
mod reader;
#[cfg(test)]
mod rehearsal;
mod requests;
mod scram;
mod script;
mod span;
mod subscription;
mod switchboard;
mod traffic;
mod unscripted;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use crate::domain::moment::Moment;

pub use behaviour::{Answering, Approval, Authorize, Behaviour, Bind, Failure, Login};
pub use blast::{Blast, EVENTS_PER_LEG, LEGS_AT_ONCE, OUTGOING_OF, Unfit};
pub use calls::{Call, Leg};
pub use configuration::configuration;
pub use delivery::{Entry, Headers, Publication, Style};
pub use directory::{Account, NotAnAccount};
pub use faults::{BadFaults, Faults, HeaderPlace, ItemsAnswer};
pub use observed::{Observed, Request, Requests};
pub use payload::{ActiveCall, UserAgent, Voicemail, publish_time};
pub use scram::Mechanism;
pub use span::{BadSpan, Share, Span};
pub use subscription::{Expire, Options as SubscriptionOptions, State, Subscription};
pub use switchboard::{CountedBy, SessionId, Stall, Switchboard};
pub use traffic::Traffic;
pub use unscripted::Ongoing;

/// How the service is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Domain below which the services are found.
    pub services_domain: String,
    /// Accounts that exist from the start.
    pub accounts: Vec<Account>,
    /// Subscriptions one JID may have on one node.
    pub most_subscriptions: usize,
    /// Whose subscriptions count together against that limit.
    pub counted_by: CountedBy,
    /// How clients may log in.
    pub mechanisms: Vec<Mechanism>,
    /// How connections are secured.
    pub tls: Tls,
    /// Stanzas queued for one connection before it is dropped.
    pub queue: usize,
    /// Connections open at once; further ones are closed at once.
    pub most_connections: usize,
    /// Seed of everything that is left to chance.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            services_domain: "xmpp.onsip.test".to_owned(),
            accounts: Vec::new(),
            most_subscriptions: 10,
            counted_by: CountedBy::FullJid,
            mechanisms: vec![Mechanism::Plain],
            tls: Tls::Off,
            queue: 1024,
            most_connections: 20_000,
            seed: 1,
        }
    }
}

/// How connections are secured.
#[derive(Clone, Default)]
pub enum Tls {
    /// Not at all.
    #[default]
    Off,
    /// By an upgrade, which is demanded before a log-in.
    Starttls(Arc<rustls::ServerConfig>),
    /// From the first byte.
    Direct(Arc<rustls::ServerConfig>),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::Starttls(_) => "Starttls",
            Self::Direct(_) => "Direct",
        })
    }
}

/// The running service. Dropping it stops it.
pub struct Simulator {
    shared: Arc<connection::Shared>,
    address: SocketAddr,
    services_domain: String,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    calls: Arc<AtomicU64>,
}

impl Simulator {
    /// Starts the service on the runtime of the caller.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(options: Options) -> io::Result<Self> {
        let reserved = reserve(options.listen)?;
        let address = reserved.local_addr()?;
        let listener = TcpListener::bind(address).await?;
        let mut board = Switchboard::new(switchboard::Terms {
            services_domain: options.services_domain.clone(),
            most_subscriptions: options.most_subscriptions,
            counted_by: options.counted_by,
            mechanisms: options.mechanisms,
            starttls: matches!(options.tls, Tls::Starttls(_)),
            seed: options.seed,
        });
        for account in options.accounts {
            board.directory.add(account);
        }
        let shared = Arc::new(connection::Shared::new(board, options.queue.max(1), options.most_connections));
        let accept = tokio::spawn(connection::accept(shared.clone(), reserved, listener, options.tls));
        let clock = tokio::spawn(connection::keep_time(shared.clone()));
        let tasks = Mutex::new(vec![accept, clock]);
        // Calls of this run are no calls of an earlier one, to a client that remembers.
        let first_call = Moment::now().utc().as_microsecond().unsigned_abs();
        Ok(Self {
            shared,
            address,
            services_domain: options.services_domain,
            tasks,
            calls: Arc::new(AtomicU64::new(first_call)),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Domain below which its services are found.
    pub fn services_domain(&self) -> &str {
        &self.services_domain
    }

    /// Stops listening and drops every connection.
    pub fn stop(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.shared.go_down();
    }

    /// Restarts the service: all connections drop, nobody can connect for `down_for`, all state is kept.
    pub async fn restart(&self, down_for: Duration) {
        self.shared.restart(down_for).await;
    }

    /// Drops all connections and refuses new ones until [`Simulator::come_up`]; all state is kept.
    pub fn go_down(&self) {
        self.shared.go_down();
    }

    /// Accepts connections again, on the same port.
    pub fn come_up(&self) {
        self.shared.come_up();
    }

    /// Whether connections to come are accepted but get no answer at all.
    pub fn mute(&self, mute: bool) {
        self.shared.act(|board, _| board.mute = mute);
    }

    /// Runs something that ends with the simulator.
    fn attend(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task));
    }
}

/// Takes an address without listening at it: while the service is down nobody else gets its port.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("address", &self.address).finish_non_exhaustive()
    }
}
