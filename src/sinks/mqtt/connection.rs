//! One connection to an MQTT broker, up to its first fault. Must not know what a message says.
//!
//! The client library would connect again by itself and send once more what was not acknowledged. So its loop runs only
//! to the first fault and is dropped then, with all it holds; and no session outlives the connection at the broker.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, PubAck, PubAckReason, Publish};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing, TlsConfiguration, Transport};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::link::{Fault, Link};
use super::super::{Failure, Parcel};
use super::{BATCH, Options, message};

/// For a TCP connection, TLS and the log-in.
const CONNECTING: Duration = Duration::from_secs(10);
/// For the acknowledgement of one message.
const ANSWER: Duration = Duration::from_secs(10);
/// Between probes of a silent connection; after two without an answer it is lost.
const PROBE: Duration = Duration::from_secs(15);
/// The biggest packet the broker may send: acknowledgements are small.
const INCOMING: u32 = 65_536;
/// The packet identifier, which a message gets when it is sent, in bytes.
const IDENTIFIER: usize = 2;

/// The connection.
#[derive(Debug)]
pub(super) struct Connection {
    client: AsyncClient,
    state: Arc<Mutex<State>>,
    peer: String,
    /// More bytes than that the broker does not take in one packet.
    largest: usize,
    /// Reads and writes; ends with the connection.
    _driver: JoinSet<()>,
}

/// Who waits for what.
#[derive(Debug, Default)]
struct State {
    /// Handed to the library and not sent yet, in order.
    unsent: VecDeque<oneshot::Sender<PubAck>>,
    /// Sent and not acknowledged yet, by packet identifier.
    sent: HashMap<u16, oneshot::Sender<PubAck>>,
    /// What ended the connection.
    fault: Option<String>,
}

impl Link for Connection {
    type Options = Options;

    async fn open(options: &Options) -> Result<Self, String> {
        let opened = timeout(CONNECTING, connect(options)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no answer within {CONNECTING:?}")));
        opened.map_err(|reason| format!("cannot connect to {}: {reason}", options.address))
    }

    fn is_sound(&self) -> bool {
        lock(&self.state).fault.is_none()
    }

    async fn hand_over(&self, parcel: &Parcel, options: &Options) -> Result<(), Failure> {
        Ok(self.publish(message::of(parcel, options)?).await?)
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
        let topic = String::from_utf8_lossy(&message.topic).into_owned();
        let answer = self.hand_over(message)?;
        match timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => judge(&answer, &topic),
            Ok(Err(_)) => Err(Fault::Refused(self.lost())),
            Err(_) => {
                let reason = format!("{} has not acknowledged within {ANSWER:?}", self.peer);
                lock(&self.state).fault.get_or_insert_with(|| reason.clone());
                Err(Fault::Refused(reason))
            }
        }
    }

    /// Hands `message` to the library and notes who waits, in the same order for both.
    fn hand_over(&self, message: Publish) -> Result<oneshot::Receiver<PubAck>, Fault> {
        let (sender, answer) = oneshot::channel();
        let Publish { topic, qos, payload, properties, .. } = message;
        let topic = String::from_utf8_lossy(&topic).into_owned();
        let mut state = lock(&self.state);
        if state.fault.is_some() {
            drop(state);
            return Err(Fault::Refused(self.lost()));
        }
        let handed =
            self.client.try_publish_with_properties(topic, qos, false, payload, properties.unwrap_or_default());
        // There is room for a batch, so the loop must have ended.
        handed.map_err(|_| Fault::Refused(format!("{}: the connection was lost", self.peer)))?;
        state.unsent.push_back(sender);
        Ok(answer)
    }

    fn lost(&self) -> String {
        let fault = lock(&self.state).fault.clone();
        format!("{}: {}", self.peer, fault.as_deref().unwrap_or("the connection was lost"))
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connect(options: &Options) -> Result<Connection, String> {
    let (client, mut events) = AsyncClient::new(settings(options).await?, BATCH);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECTING.as_secs());
    events.options.set_network_options(network);
    let welcome = loop {
        if let Event::Incoming(Packet::ConnAck(welcome)) = events.poll().await.map_err(|fault| said(&fault))? {
            break welcome;
        }
    };
    let largest = limits(&welcome)?;
    let state = Arc::new(Mutex::new(State::default()));
    let mut driver = JoinSet::new();
    driver.spawn(drive(events, Arc::clone(&state)));
    Ok(Connection { client, state, peer: options.address.to_string(), largest, _driver: driver })
}

async fn settings(options: &Options) -> Result<MqttOptions, String> {
    let client_id = options.client_id.clone().unwrap_or_else(|| format!("onsip-router-{:016x}", rand::random::<u64>()));
    let mut settings = MqttOptions::new(client_id, &options.address.host, options.address.port);
    settings.set_keep_alive(PROBE).set_clean_start(true).set_max_packet_size(Some(INCOMING));
    settings.set_session_expiry_interval(Some(0)).set_connection_timeout(CONNECTING.as_secs());
    if let (Some(username), Some(password)) = (&options.username, &options.password) {
        settings.set_credentials(username, password.expose());
    }
    if options.address.tls {
        let client = options.encryption.client().await.map_err(|fault| fault.to_string())?;
        settings.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(client))));
    }
    Ok(settings)
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

/// Runs the loop of the library up to its first fault, and passes on each acknowledgement.
async fn drive(mut events: EventLoop, state: Arc<Mutex<State>>) {
    let fault = loop {
        match events.poll().await {
            Ok(event) => lock(&state).note(event),
            Err(fault) => break fault,
        }
    };
    let mut state = lock(&state);
    // What came in with the end of the connection: often the broker's reason for it.
    events.state.events.drain(..).for_each(|event| state.note(event));
    let fault = said(&fault);
    *state = State { fault: Some(state.fault.take().unwrap_or(fault)), ..State::default() };
}

impl State {
    fn note(&mut self, event: Event) {
        match event {
            Event::Outgoing(Outgoing::Publish(identifier)) => {
                if let Some(waiting) = self.unsent.pop_front() {
                    self.sent.insert(identifier, waiting);
                }
            }
            Event::Incoming(Packet::PubAck(answer)) => {
                if let Some(waiting) = self.sent.remove(&answer.pkid) {
                    let _ = waiting.send(answer); // nobody may wait any longer
                }
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}

fn judge(answer: &PubAck, topic: &str) -> Result<(), Fault> {
    let text = answer.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
    let said = text.map_or_else(String::new, |text| format!(" ({text})"));
    match answer.reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
        PubAckReason::TopicNameInvalid => Err(Fault::Rejected(format!("the broker knows no topic {topic}{said}"))),
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

fn said(fault: &ConnectionError) -> String {
    match fault {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "the broker refuses the log-in; check `username`, `password` and `client_id`".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection: {code:?}"),
        ConnectionError::Io(fault) => fault.to_string(),
        ConnectionError::MqttState(fault) => fault.to_string(),
        ConnectionError::Tls(fault) => format!("TLS: {fault}"),
        ConnectionError::Timeout(_) => "no answer in time".to_owned(),
        ConnectionError::NotConnAck(_) | ConnectionError::RequestsDone => fault.to_string(),
    }
}
