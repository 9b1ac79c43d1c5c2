//! An HTTP server that takes webhooks, remembers what came, and answers as the test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// No event of a test is larger.
const LARGEST: usize = 16 << 20;

/// One POST as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The other end of its connection.
    pub from: SocketAddr,
}

impl Received {
    /// The value of a header, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("printable ASCII"))
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// An answer that is a status and nothing else.
pub fn status(status: u16) -> Answer {
    Answer { status, headers: Vec::new(), body: String::new() }
}

type Behaviour = Arc<dyn Fn(Received) -> BoxFuture<'static, Answer> + Send + Sync>;

#[derive(Clone)]
struct State {
    behaviour: Behaviour,
    received: Arc<Mutex<Vec<Received>>>,
}

/// A running server. Dropping it stops it.
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    handle: ServerHandle,
}

impl Receiver {
    /// Answers each POST with what `answer` makes of it.
    pub fn start(answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), move |received| {
            let answer = answer(&received);
            async move { answer }
        })
    }

    /// The same at an address of the caller's choice, and with time to think.
    pub fn start_at<F: Future<Output = Answer> + Send + 'static>(
        address: SocketAddr,
        answer: impl Fn(Received) -> F + Send + Sync + 'static,
    ) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let behaviour: Behaviour = Arc::new(move |received| answer(received).boxed());
        let state = State { behaviour, received: Arc::clone(&received) };
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(state.clone()))
                .app_data(web::PayloadConfig::new(LARGEST))
                .default_service(web::post().to(take))
        });
        let server = server.workers(1).disable_signals().shutdown_timeout(0).bind(address).expect("a free port");
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { address, received, handle }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far, in the order of its arrival.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn take(request: HttpRequest, body: web::Bytes, state: web::Data<State>) -> HttpResponse {
    let header = |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
        let name: HeaderName = name.as_str().parse().expect("a header name");
        (name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"))
    };
    let received = Received {
        target: request.uri().to_string(),
        headers: request.headers().iter().map(header).collect(),
        body: body.to_vec(),
        from: request.peer_addr().expect("a connection has another end"),
    };
    state.received.lock().unwrap().push(received.clone());
    let answer = (state.behaviour)(received).await;
    let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).expect("a status"));
    for header in answer.headers {
        response.insert_header(header);
    }
    response.body(answer.body)
}
