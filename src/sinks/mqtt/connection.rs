//! One connection to an MQTT broker, up to its first fault. Must not know what a message says.
//!
//! The client library would connect again by itself and send once more what was not acknowledged. So it gets one
//! finished stream and no second one, its loop runs only to the first fault and is dropped then, with all it holds; and
//! no session outlives the connection at the broker.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::Error as MqttError;
use rumqttc::{
    AsyncClient, Broker, ClientError, ConnAck, ConnectReturnCode, ConnectionError, DisconnectReasonCode, Event,
    EventLoop, MqttOptions, Packet, PubAck, PubAckReason, Publish, PublishOptions, PublishResult, StateError,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::excerpt::excerpt;
use super::super::link::{Fault, Link};
use super::super::throttle::Throttled;
use super::super::{Failure, Parcel};
use super::address::Address;
use super::stream::ReadToEnd;
use super::{BATCH, Options, message};
use crate::dial;
use crate::domain::limits::MQTT_PACKET;

/// For a TCP connection, TLS and the log-in.
const CONNECTING: Duration = Duration::from_secs(10);
/// For the acknowledgement of one message.
const ANSWER: Duration = Duration::from_secs(10);
/// Seconds between probes of a silent connection; after two without an answer it is lost.
const PROBE: u16 = 15;
/// The packet identifier, which a message gets when it is sent, in bytes.
const IDENTIFIER: usize = 2;

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// The broker has refused a message as too large.
    TooLarge(String),
    /// Anything else.
    Other(String),
}

impl End {
    fn reason(&self) -> &str {
        match self {
            Self::TooLarge(reason) | Self::Other(reason) => reason,
        }
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Connection {
    client: AsyncClient,
    /// What ended the connection.
    end: Arc<Mutex<Option<End>>>,
    peer: String,
    /// More bytes than that the broker does not take in one packet.
    largest: usize,
    /// Reads and writes; ends with the connection.
    _driver: JoinSet<()>,
}

impl Link for Connection {
    type Options = Options;

    async fn open(options: &Options) -> Result<Self, String> {
        let opened = timeout(CONNECTING, connect(options)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no answer within {CONNECTING:?}")));
        opened.map_err(|reason| format!("cannot connect to {}: {reason}", options.address))
    }

    fn is_sound(&self) -> bool {
        lock(&self.end).is_none()
    }

    async fn hand_over(&self, parcel: &Parcel, options: &Options) -> Result<(), Failure> {
        Ok(self.publish(message::of(parcel, options)?).await?)
    }

    fn too_large(&self) -> Option<String> {
        match &*lock(&self.end) {
            Some(End::TooLarge(reason)) => Some(reason.clone()),
            Some(End::Other(_)) | None => None,
        }
    }
}

impl Connection {
    /// Publishes `message` and waits until the broker has taken it.
    async fn publish(&self, message: Publish) -> Result<(), Fault> {
        let size = message.size() + IDENTIFIER;
        if size > self.largest {
            let largest = self.largest;
            return Err(Fault::Rejected(format!("the broker takes {largest} bytes in one packet, this has {size}")));
        }
        let Publish { topic, payload, properties, .. } = message;
        let topic = String::from_utf8_lossy(&topic).into_owned();
        let options = PublishOptions::at_least_once().properties(properties.unwrap_or_default());
        let notice = self.client.try_publish_tracked(topic.clone(), payload, options).map_err(|fault| match fault {
            ClientError::InvalidRequest(_) => Fault::Rejected(format!("{topic} is no topic")),
            // There is room for a batch, so the loop must have ended.
            _ => Fault::Refused(self.lost()),
        })?;
        match timeout(ANSWER, notice.wait_async()).await {
            Ok(Ok(PublishResult::Qos1(answer))) => judge(&answer, &topic),
            Ok(_) => Err(Fault::Refused(self.lost())),
            Err(_) => {
                let reason = format!("{} has not acknowledged within {ANSWER:?}", self.peer);
                lock(&self.end).get_or_insert_with(|| End::Other(reason.clone()));
                Err(Fault::Refused(reason))
            }
        }
    }

    fn lost(&self) -> String {
        let end = lock(&self.end);
        format!("{}: {}", self.peer, end.as_ref().map_or("the connection was lost", End::reason))
    }
}

fn lock<T>(state: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connect(options: &Options) -> Result<Connection, String> {
    let Address { tls, host, port } = &options.address;
    let plainly = |fault: io::Error| fault.to_string();
    let tls = if *tls {
        let name = ServerName::try_from(host.clone()).map_err(|fault| fault.to_string())?;
        Some((TlsConnector::from(Arc::new(options.encryption.client().await.map_err(plainly)?)), name))
    } else {
        None
    };
    let found = dial::addresses(host, *port).await.map_err(plainly)?;
    let begin = |tcp: TcpStream| {
        let (tls, tcp) = (tls.clone(), ReadToEnd(Throttled::new(tcp)));
        async move {
            let Some((client, name)) = tls else { return log_in(Box::new(tcp), options).await };
            let stream = client.connect(name, tcp).await.map_err(|fault| dial::Fault::Here(format!("TLS: {fault}")))?;
            log_in(Box::new(stream), options).await
        }
    };
    dial::open(&found, CONNECTING, begin).await.map_err(|fault| fault.to_string())
}

/// What the client library reads and writes.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

async fn log_in(stream: Box<dyn Stream>, options: &Options) -> Result<Connection, dial::Fault<String>> {
    let stream = Mutex::new(Some(stream));
    let mut settings = settings(options);
    settings.set_socket_connector(move |_, _| {
        let stream = lock(&stream).take();
        async { stream.ok_or_else(|| io::ErrorKind::NotConnected.into()) }
    });
    let made = AsyncClient::builder(settings).capacity(BATCH.into()).try_build();
    let (client, mut events) = made.map_err(|fault| dial::Fault::Everywhere(fault.to_string()))?;
    let welcome = loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(welcome))) => break welcome,
            Ok(_) => {}
            Err(fault) => {
                let reason = end(&fault, options.client_id.as_deref()).reason().to_owned();
                return Err(match fault {
                    ConnectionError::ConnectionRefused(_) => dial::Fault::Everywhere(reason),
                    _ => dial::Fault::Here(reason),
                });
            }
        }
    };
    let largest = limits(&welcome).map_err(dial::Fault::Everywhere)?;
    let end = Arc::default();
    let mut driver = JoinSet::new();
    driver.spawn(drive(events, Arc::clone(&end), options.client_id.clone()));
    Ok(Connection { client, end, peer: options.address.to_string(), largest, _driver: driver })
}

fn settings(options: &Options) -> MqttOptions {
    let client_id = options.client_id.clone().unwrap_or_else(|| format!("onsip-router-{:016x}", rand::random::<u64>()));
    let mut settings = MqttOptions::new(client_id, Broker::tcp(&options.address.host, options.address.port));
    settings.set_keep_alive(PROBE).set_clean_start(true).set_max_packet_size(Some(MQTT_PACKET));
    settings.set_session_expiry_interval(Some(0)).set_connect_timeout(CONNECTING);
    settings.set_outgoing_inflight_upper_limit(BATCH);
    if let (Some(username), Some(password)) = (&options.username, &options.password) {
        settings.set_credentials(username, password.expose().to_owned());
    }
    settings
}

/// The largest packet that the broker takes.
///
/// # Errors
/// If it does not acknowledge messages at all.
fn limits(welcome: &ConnAck) -> Result<usize, String> {
    let Some(limits) = &welcome.properties else { return Ok(usize::MAX) };
    if limits.max_qos == Some(0) {
        return Err("the broker does not acknowledge messages (its maximum quality of service is 0)".to_owned());
    }
    Ok(limits.max_packet_size.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)))
}

/// Runs the loop of the library up to its first fault. Whoever waits for an acknowledgement is told only after the fault
/// is noted, when the loop is dropped.
async fn drive(mut events: EventLoop, noted: Arc<Mutex<Option<End>>>, client_id: Option<String>) {
    let fault = loop {
        if let Err(fault) = events.poll().await {
            break fault;
        }
    };
    lock(&noted).get_or_insert_with(|| end(&fault, client_id.as_deref()));
}

fn judge(answer: &PubAck, topic: &str) -> Result<(), Fault> {
    let text = answer.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
    let said = text.map_or_else(String::new, |text| format!(" ({})", excerpt(text)));
    match answer.reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
        PubAckReason::TopicNameInvalid => Err(Fault::Refused(format!("the broker has no topic {topic}{said}"))),
        PubAckReason::PayloadFormatInvalid => {
            Err(Fault::Rejected(format!("the broker does not take the format of the payload{said}")))
        }
        PubAckReason::NotAuthorized => {
            Err(Fault::Refused(format!("the user has no right to publish to the topic {topic}{said}")))
        }
        PubAckReason::QuotaExceeded => Err(Fault::Refused(format!("a quota of the broker is exceeded{said}"))),
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse => {
            Err(Fault::Refused(format!("the broker does not take the message: {:?}{said}", answer.reason)))
        }
    }
}

/// Says in a line what ended the connection, and what can be done about it; `client_id` is the configured one.
fn end(fault: &ConnectionError, client_id: Option<&str>) -> End {
    /// The code for a packet that is too large. Brokers send it in an acknowledgement, where the protocol does not have it.
    const TOO_LARGE: u8 = DisconnectReasonCode::PacketTooLarge as u8;
    let reason = match fault {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "the broker refuses the log-in; check `username`, `password` and `client_id`".to_owned(),
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid,
        ) => "the broker refuses the client identifier; check `client_id`".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection: {code:?}"),
        ConnectionError::MqttState(StateError::Deserialization(MqttError::InvalidConnectReturnCode(TOO_LARGE))) => {
            return End::TooLarge("the broker takes no message of this size".to_owned());
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let text = reason_string.as_deref().map_or_else(String::new, |text| format!(" ({})", excerpt(text)));
            let reason = farewell(*reason_code, client_id) + &text;
            if *reason_code == DisconnectReasonCode::PacketTooLarge {
                return End::TooLarge(reason);
            }
            reason
        }
        // A broker older than MQTT 5 says nothing where another client takes over.
        ConnectionError::MqttState(StateError::ConnectionAborted) => match client_id {
            Some(client_id) => {
                format!("the broker closed the connection without a reason; does another client use {client_id:?} too?")
            }
            None => "the broker closed the connection without a reason".to_owned(),
        },
        ConnectionError::MqttState(StateError::Io(fault)) | ConnectionError::Io(fault) => fault.to_string(),
        ConnectionError::Timeout(_) => "no answer in time".to_owned(),
        fault => excerpt(&fault.to_string()),
    };
    End::Other(reason)
}

/// Says why the broker ended the connection.
fn farewell(code: DisconnectReasonCode, client_id: Option<&str>) -> String {
    match (code, client_id) {
        (DisconnectReasonCode::SessionTakenOver, Some(client_id)) => format!(
            "another client logged in with the client identifier {client_id:?} and took over; give each its own \
             `client_id`, or configure none here"
        ),
        (DisconnectReasonCode::SessionTakenOver, None) => {
            "another client logged in with our client identifier and took over".to_owned()
        }
        (DisconnectReasonCode::ServerShuttingDown, _) => "the broker is shutting down".to_owned(),
        (DisconnectReasonCode::NotAuthorized, _) => {
            "the broker ended the connection: the user has no right to be connected".to_owned()
        }
        (DisconnectReasonCode::PacketTooLarge, _) => "the broker takes no packet of this size".to_owned(),
        (code, _) => format!("the broker ended the connection: {code:?}"),
    }
}
