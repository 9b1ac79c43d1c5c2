//! What the daemon shows over HTTP: metrics, health, the status page and the API.
//!
//! Reads the metrics, the board and the feed; must not know actors, the store or the protocol.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::{AppConfig, Server as Actix, ServerHandle};
use actix_web::{App, HttpResponse, middleware, rt, web};
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpStream;

use crate::board::Board;
use crate::domain::limits::{HTTP_CONNECTIONS, HTTP_CONNECTIONS_LEAST, HTTP_HEAD};
use crate::domain::secret::Secret;
use crate::feed::Feed;
use crate::metrics::Metrics;
use connections::{Connections, Watched};
use events::Live;
use room::Room;

pub mod access;
pub mod api;
mod connections;
pub mod events;
pub mod health;
pub mod metrics;
pub mod options;
pub mod page;
mod room;
pub mod worst;

/// Longer than a usual scrape interval, so that a scraper keeps its connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a graceful stop waits for answers under way, in seconds; the whole daemon has ten.
const GRACE: u64 = 2;

/// A bound address at which nobody answers yet; connections wait.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    token: Option<Secret>,
    allowed_hosts: Vec<String>,
    mask_numbers: bool,
    connections: usize,
}

/// How many connections there may be where so many open files are allowed: one in eight.
#[must_use]
pub fn connections(open_files: Option<u64>) -> usize {
    let share = open_files.map_or(HTTP_CONNECTIONS, |files| usize::try_from(files / 8).unwrap_or(HTTP_CONNECTIONS));
    share.clamp(HTTP_CONNECTIONS_LEAST, HTTP_CONNECTIONS)
}

/// Binds the address.
///
/// # Errors
/// If it is taken or not ours.
pub fn listen(options: &options::Options) -> io::Result<Listener> {
    let socket = TcpListener::bind(options.listen)?;
    let addr = socket.local_addr()?;
    let connections = connections(getrlimit(Resource::Nofile).current);
    let options::Options { token, allowed_hosts, mask_numbers, .. } = options.clone();
    Ok(Listener { socket, addr, token, allowed_hosts, mask_numbers, connections })
}

impl Listener {
    /// Where it listens; the real port where 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts to answer, on a thread of its own. Must be called inside an actix system.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub fn serve(self, board: Arc<Board>, metrics: Arc<Metrics>, feed: Feed) -> io::Result<Server> {
        let connections = Arc::new(Connections::new(self.connections, KEEP_ALIVE, Arc::clone(&metrics)));
        let live = Arc::new(Live::new(feed, Arc::clone(&metrics), self.mask_numbers, self.connections));
        let events = web::Data::from(Arc::clone(&live));
        let room = web::Data::new(Room::new(Arc::clone(&connections), Arc::clone(&metrics)));
        let board = web::Data::from(board);
        let metrics = web::Data::from(metrics);
        let access = web::Data::new(access::Access::new(self.token.as_ref(), self.allowed_hosts));
        let app = move || {
            App::new()
                .app_data(board.clone())
                .app_data(metrics.clone())
                .app_data(events.clone())
                .app_data(access.clone())
                .app_data(room.clone())
                .wrap(middleware::from_fn(access::guard))
                .configure(routes)
        };
        let watched = Arc::clone(&connections);
        let service = move || {
            let watched = Arc::clone(&watched);
            let http = HttpService::build()
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(HTTP_HEAD)
                .client_disconnect_timeout(HTTP_HEAD)
                .on_connect_ext(|stream: &Watched, data| drop(data.insert(Arc::clone(stream.connection()))))
                .h1(map_config(app().into_factory(), |()| AppConfig::default()));
            fn_service(move |stream: TcpStream| {
                let peer = stream.peer_addr().ok();
                std::future::ready(Ok((watched.admit(stream), peer)))
            })
            .and_then(http)
            .map_err(|fault| tracing::debug!(%fault, "a connection to the HTTP port ended early"))
        };
        // The server's own bound would keep new connections waiting; ours closes an old one for each.
        let server = Actix::build()
            .workers(1)
            .max_concurrent_connections(self.connections.saturating_mul(2))
            .shutdown_timeout(GRACE)
            .disable_signals()
            .listen("http", self.socket, service)?
            .run();
        let handle = server.handle();
        rt::spawn(async move {
            let looked_after = rt::spawn(connections.look_after());
            if let Err(fault) = server.await {
                tracing::error!(%fault, "the HTTP server stopped");
            }
            looked_after.abort();
        });
        Ok(Server { handle, addr: self.addr, live })
    }
}

macro_rules! routes {
    ($($path:literal => $handler:path,)+) => {
        /// Every path there is.
        pub const PATHS: &[&str] = &[$($path),+];

        // The guard lets only GET and HEAD through, so a path needs no method of its own.
        fn routes(app: &mut web::ServiceConfig) {
            app$(.service(web::resource($path).to($handler)))+
                .default_service(web::to(|| async { HttpResponse::NotFound().body("not found\n") }));
        }
    };
}

routes! {
    "/" => page::show,
    "/livez" => health::live,
    "/readyz" => health::ready,
    "/metrics" => metrics::show,
    "/api/v1/summary" => api::summary::show,
    "/api/v1/history" => api::history,
    "/api/v1/accounts" => api::accounts,
    "/api/v1/subscriptions" => api::subscriptions,
    "/api/v1/sinks" => api::sinks,
    "/api/v1/events" => events::show,
    "/api/v1/openapi.json" => api::openapi::show,
}

/// The running server; it goes on when this is dropped.
#[derive(Clone, Debug)]
pub struct Server {
    handle: ServerHandle,
    addr: SocketAddr,
    live: Arc<Live>,
}

impl Server {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the live feed and stops; if `graceful`, other answers under way get two seconds.
    pub async fn stop(&self, graceful: bool) {
        self.live.end().await;
        self.handle.stop(graceful).await;
    }
}
