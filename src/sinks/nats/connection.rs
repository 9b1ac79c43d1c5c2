//! One connection to a NATS server, up to the moment it is lost. Must not know what a message says.
//!
//! The client library would connect again by itself and send what it still held, behind what was lost with the old
//! connection: later events before earlier ones. So it is left no server to go to once it is connected; a lost
//! connection ends with all that is on it, and a new one is made for the next delivery.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode, stream};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, Request, RequestErrorKind, ServerAddr};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::super::excerpt::excerpt;
use super::super::link::{Fault, Link};
use super::super::{Failure, Parcel};
use super::Options;
use super::greeting::{self, Way};
use super::message::{self, Message};
use crate::dial;

/// For a TCP connection, TLS and the log-in, over all servers and addresses: shorter than the usual `timeout`.
const CONNECTING: Duration = Duration::from_secs(8);
/// For the acknowledgement of one message.
const ANSWER: Duration = Duration::from_secs(10);
/// Between probes of a silent connection; after two without an answer it is lost.
const PROBE: Duration = Duration::from_secs(15);
/// An address at which nobody can listen.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// The connection.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    /// Whether something on it was not answered: it is not to be used again.
    doubtful: AtomicBool,
    complaint: Complaint,
    way: Way,
}

/// Why there is no connection.
enum Unmade {
    /// A server refuses the log-in, with these words.
    Login(String),
    /// Anything else.
    Other(String),
}

/// The last error that the server sent on its own: it says so, and not as an answer, where a subject is forbidden.
#[derive(Clone, Debug, Default)]
struct Complaint(Arc<Mutex<Option<String>>>);

impl Complaint {
    fn hear(&self, event: &Event) {
        if let Event::ServerError(error) = event {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(excerpt(&error.to_string()));
        }
    }

    fn behind(&self, reason: &str) -> String {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(complaint) => format!("{reason}; the server says: {complaint}"),
            None => reason.to_owned(),
        }
    }
}

impl Link for Connection {
    type Options = Options;

    /// Connects, logs in, and makes the stream if the options name one that is not there.
    async fn open(options: &Options) -> Result<Self, String> {
        let complaint = Complaint::default();
        let (client, way) = connect(options, &complaint).await.map_err(|unmade| match unmade {
            Unmade::Login(said) => format!(
                "{} refuses the log-in ({said}); check user, password, token, nkey or credentials",
                options.peer()
            ),
            Unmade::Other(reason) => format!("cannot connect to {}: {reason}", options.peer()),
        })?;
        if let Some(name) = &options.stream {
            let wanted = stream::Config {
                name: name.clone(),
                subjects: vec![message::pattern(&options.subject)],
                ..stream::Config::default()
            };
            let made = jetstream::new(client.clone()).get_or_create_stream(wanted).await;
            made.map_err(|fault| {
                format!("the stream {name} is not there and cannot be made: {}", excerpt(&fault.to_string()))
            })?;
        }
        Ok(Self { client, doubtful: AtomicBool::new(false), complaint, way })
    }

    fn is_sound(&self) -> bool {
        self.client.connection_state() == State::Connected && !self.doubtful.load(Ordering::Relaxed)
    }

    async fn hand_over(&self, parcel: &Parcel, options: &Options) -> Result<(), Failure> {
        Ok(self.publish(message::of(parcel, options)?).await?)
    }
}

/// Connects to one of the servers and logs in. They take turns, as any of them will do.
async fn connect(options: &Options, complaint: &Complaint) -> Result<(Client, Way), Unmade> {
    let tls = options.encryption.client().await.map_err(|fault| Unmade::Other(fault.to_string()))?;
    let tls = TlsConnector::from(Arc::new(tls));
    let mut servers: Vec<_> = options.servers.iter().collect();
    let first = rand::random_range(..servers.len().max(1)).min(servers.len());
    servers.rotate_left(first);
    let deadline = Instant::now() + CONNECTING;
    let mut last = Unmade::Other("no server is configured".to_owned());
    for (tried, server) in servers.iter().enumerate() {
        let left = u32::try_from(servers.len() - tried).unwrap_or(u32::MAX);
        let patience = deadline.saturating_duration_since(Instant::now()) / left;
        let connecting = connect_to(server, patience, options, &tls, complaint);
        match timeout(patience, connecting).await {
            Ok(Err(unmade @ Unmade::Login(_))) => return Err(unmade),
            Ok(Ok(made)) => return Ok(made),
            Ok(Err(unmade)) => last = unmade,
            Err(_) => last = Unmade::Other(format!("{server}: no answer within {patience:?}")),
        }
    }
    Err(last)
}

async fn connect_to(
    server: &str,
    patience: Duration,
    options: &Options,
    tls: &TlsConnector,
    complaint: &Complaint,
) -> Result<(Client, Way), Unmade> {
    let other = |fault: &dyn std::fmt::Display| Unmade::Other(excerpt(&fault.to_string()));
    let server: ServerAddr = server.parse().map_err(|fault| other(&fault))?;
    let insisting = options.encryption.is_configured() || server.tls_required();
    let found = dial::addresses(server.host(), server.port()).await.map_err(|fault| other(&fault))?;
    let (server, settings) = (&server, || settings(options, complaint).map_err(|fault| other(&fault)));
    let begin = |tcp| async move {
        let greeted = greeting::greeted(tcp, tls, server.host(), insisting).await;
        let greeted = greeted.map_err(|reason| dial::Fault::Here(Unmade::Other(reason)))?;
        let way = Way::to(greeted).await.map_err(|fault| dial::Fault::Everywhere(other(&fault)))?;
        let settings = settings().map_err(dial::Fault::Everywhere)?.local_address(way.from);
        let client = settings.connect(&way.url).await.map_err(|fault| match fault.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                dial::Fault::Everywhere(Unmade::Login(excerpt(&fault.to_string())))
            }
            _ => dial::Fault::Here(way.relay.fault().map_or_else(|| other(&fault), Unmade::Other)),
        })?;
        client.set_server_pool(NOWHERE).await.map_err(|fault| dial::Fault::Here(other(&fault)))?;
        Ok((client, way))
    };
    dial::open(&found, patience, begin).await.map_err(|fault| match fault {
        dial::OpenError::Unreachable(fault) => other(&fault),
        dial::OpenError::Useless(unmade) => unmade,
    })
}

/// The options of the client library, for one server.
fn settings(options: &Options, complaint: &Complaint) -> io::Result<ConnectOptions> {
    let heard = complaint.clone();
    let settings = ConnectOptions::new()
        .event_callback(move |event| {
            heard.hear(&event);
            std::future::ready(())
        })
        .name("onsip-router")
        .connection_timeout(CONNECTING)
        .request_timeout(Some(ANSWER))
        .ping_interval(PROBE)
        .ignore_discovered_servers()
        .max_reconnects(1);
    options.login.add_to(settings)
}

impl Connection {
    /// Publishes `message` and waits until a stream has stored it.
    async fn publish(&self, message: Message) -> Result<(), Fault> {
        let Message { subject, headers, body } = message;
        let request = Request::new().headers(headers).payload(body.into()).timeout(Some(ANSWER));
        let answer = self.client.send_request(subject.clone(), request).await.map_err(|fault| match fault.kind() {
            RequestErrorKind::NoResponders => {
                Fault::Refused(format!("no stream takes the subject {subject}: there is none, or it has no leader"))
            }
            RequestErrorKind::MaxPayloadExceeded => Fault::Rejected(excerpt(&fault.to_string())),
            RequestErrorKind::InvalidSubject => Fault::Rejected(format!("{subject} is no subject")),
            RequestErrorKind::TimedOut => self.doubt(&format!("no acknowledgement for {subject} within {ANSWER:?}")),
            RequestErrorKind::Other => self.doubt("the connection was lost"),
        })?;
        match serde_json::from_slice(&answer.payload) {
            Ok(Response::Ok(PublishAck { .. })) => Ok(()),
            Ok(Response::Err { error }) => Err(refusal(&subject, &error)),
            Err(_) => {
                let said = excerpt(&String::from_utf8_lossy(&answer.payload));
                Err(Fault::Refused(format!("what answers at the subject {subject} is no stream; it says: {said}")))
            }
        }
    }

    fn doubt(&self, reason: &str) -> Fault {
        self.doubtful.store(true, Ordering::Relaxed);
        Fault::Refused(self.complaint.behind(&self.way.relay.fault().unwrap_or_else(|| reason.to_owned())))
    }
}

fn refusal(subject: &str, error: &jetstream::Error) -> Fault {
    let reason = format!("the stream does not take {subject}: {}", excerpt(&error.to_string()));
    match error.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => Fault::Rejected(reason),
        _ => Fault::Refused(reason),
    }
}
