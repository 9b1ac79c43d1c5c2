//! One connection to a NATS server, up to the moment it is lost. Must not know what a message says.
//!
//! The client library would connect again by itself and send what it still held, behind what was lost with the old
//! connection: later events before earlier ones. So it is left no server to go to once it is connected; a lost
//! connection ends with all that is on it, and a new one is made for the next delivery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode, stream};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, Request, RequestErrorKind, ServerAddr};
use futures::future::join_all;
use tokio::time::timeout;

use super::super::excerpt::excerpt;
use super::super::link::{Fault, Link};
use super::super::{Failure, Parcel};
use super::Options;
use super::message::{self, Message};
use crate::dial;

/// For a TCP connection, TLS and the log-in, over all addresses: shorter than the usual `timeout`.
const CONNECTING: Duration = Duration::from_secs(8);
/// The same at one address, if there are not many.
const AT_ONE: Duration = Duration::from_secs(5);
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
        let failed = |fault: &dyn std::fmt::Display| {
            format!("cannot connect to {}: {}", options.peer(), excerpt(&fault.to_string()))
        };
        let complaint = Complaint::default();
        let heard = complaint.clone();
        let settings = ConnectOptions::new()
            .event_callback(move |event| {
                heard.hear(&event);
                std::future::ready(())
            })
            .name("onsip-router")
            .connection_timeout(share(options).await)
            .request_timeout(Some(ANSWER))
            .ping_interval(PROBE)
            .ignore_discovered_servers()
            .max_reconnects(options.servers.len())
            .require_tls(options.encryption.is_configured())
            .tls_client_config(options.encryption.client().await.map_err(|fault| failed(&fault))?);
        let settings = options.login.add_to(settings).map_err(|fault| failed(&fault))?;
        let client = settings.connect(&options.servers).await.map_err(|fault| match fault.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                let said = excerpt(&fault.to_string());
                format!(
                    "{} refuses the log-in ({said}); check user, password, token, nkey or credentials",
                    options.peer()
                )
            }
            _ => failed(&fault),
        })?;
        client.set_server_pool(NOWHERE).await.map_err(|fault| failed(&fault))?;
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
        Ok(Self { client, doubtful: AtomicBool::new(false), complaint })
    }

    fn is_sound(&self) -> bool {
        self.client.connection_state() == State::Connected && !self.doubtful.load(Ordering::Relaxed)
    }

    async fn hand_over(&self, parcel: &Parcel, options: &Options) -> Result<(), Failure> {
        Ok(self.publish(message::of(parcel, options)?).await?)
    }
}

/// The time for each address: the library goes through them by itself, one after the other.
async fn share(options: &Options) -> Duration {
    let servers = options.servers.iter().filter_map(|server| server.parse::<ServerAddr>().ok());
    let found = join_all(servers.map(|server| async move {
        // One that is not found costs no time.
        dial::addresses(server.host(), server.port()).await.map_or(0, |found| found.len())
    }));
    let count = timeout(CONNECTING / 2, found).await.map_or(1, |found| found.into_iter().sum());
    (CONNECTING / u32::try_from(count).unwrap_or(u32::MAX).max(1)).min(AT_ONE)
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
        Fault::Refused(self.complaint.behind(reason))
    }
}

fn refusal(subject: &str, error: &jetstream::Error) -> Fault {
    let reason = format!("the stream does not take {subject}: {}", excerpt(&error.to_string()));
    match error.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => Fault::Rejected(reason),
        _ => Fault::Refused(reason),
    }
}
