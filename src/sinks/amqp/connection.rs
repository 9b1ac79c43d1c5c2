//! One connection to an AMQP broker, with one channel, up to its first fault. Must not know what a message says.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_compat::CompatExt;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::RustlsConnector;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{AsyncTcpStream, Channel, Confirmation, ConnectionProperties, Error, ErrorKind};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::excerpt::excerpt;
use super::Options;
use super::line::{Guard, Line};
use super::message::Message;
use crate::dial;

/// For a TCP connection, TLS, the log-in and a channel.
const CONNECTING: Duration = Duration::from_secs(10);
/// For the confirmation of one message.
const ANSWER: Duration = Duration::from_secs(10);
/// Between heartbeats, in seconds; after two without one the connection is lost.
const HEARTBEAT: u16 = 15;
/// What is said where the library does not say why.
pub(super) const LOST: &str = "the connection was lost";

/// The connection.
pub(super) struct Connection {
    link: lapin::Connection,
    channel: Channel,
    exchange: String,
    peer: String,
    /// What ended it, as far as is known.
    fault: Mutex<Option<Fault>>,
    /// Last, so that a connection at rest can still say good-bye.
    guard: Guard,
}

/// Why a message was not confirmed.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The broker says no to this message for now; the connection stands.
    Refused(String),
    /// The broker takes no message of this size; the connection is of no more use.
    TooLarge(String),
    /// Anything else; the connection is of no more use.
    Broken(String),
}

impl Fault {
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Refused(reason) | Self::TooLarge(reason) | Self::Broken(reason) => reason,
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, logs in, and opens a channel with confirmations.
    ///
    /// # Errors
    /// Why not, free of secrets.
    pub(super) async fn open(options: &Options) -> Result<Self, String> {
        let opened = timeout(CONNECTING, connect(options)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no answer within {CONNECTING:?}")));
        opened.map_err(|reason| format!("cannot connect to {}: {reason}", options.address))
    }

    /// Whether it still stands, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.channel.status().connected() && self.link.status().connected()
    }

    /// What ended it.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Between deliveries: nothing is under way, and it may be closed in good order.
    pub(super) fn at_rest(mut self) -> Self {
        self.guard.armed = false;
        self
    }

    /// In a delivery: whoever leaves it cuts the connection.
    pub(super) fn at_work(mut self) -> Self {
        self.guard.armed = true;
        self
    }

    /// Publishes `message` and waits until the broker has confirmed it.
    pub(super) async fn publish(&self, message: &Message<'_>) -> Result<(), Fault> {
        let sent = async {
            let Message { routing_key, properties, body } = message;
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let (exchange, key) = (self.exchange.as_str().into(), routing_key.clone());
            self.channel.basic_publish(exchange, key, options, body.as_bytes(), properties.clone()).await?.await
        };
        match timeout(ANSWER, sent).await {
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            Ok(Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)))) => {
                let said = excerpt(returned.reply_text.as_str());
                let (exchange, key) = (&self.exchange, &message.routing_key);
                Err(Fault::Refused(format!("no queue gets the routing key {key} of the exchange {exchange}: {said}")))
            }
            Ok(Ok(Confirmation::Nack(None))) => {
                Err(Fault::Refused("the broker has not taken the message: a queue is full, or failed".to_owned()))
            }
            Ok(Ok(Confirmation::NotRequested)) => Err(self.broken(Fault::Broken(LOST.to_owned()))),
            Ok(Err(error)) => Err(self.broken(cause(&error))),
            Err(_) => {
                let why = if self.link.status().blocked() { "; it is short of memory or disk space" } else { "" };
                Err(self.broken(Fault::Broken(format!("{} has not confirmed within {ANSWER:?}{why}", self.peer))))
            }
        }
    }

    /// Keeps what ended the connection: the first fault, unless a later one knows more.
    fn broken(&self, fault: Fault) -> Fault {
        let mut kept = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let knows_more = |kept: &Fault| matches!(kept, Fault::Broken(reason) if reason == LOST);
        if kept.as_ref().is_none_or(knows_more) {
            *kept = Some(fault.clone());
        }
        fault
    }
}

async fn connect(options: &Options) -> Result<Connection, String> {
    let plainly = |fault: io::Error| fault.to_string();
    let address = &options.address;
    let tls = if address.tls { Some(Arc::new(options.encryption.client().await.map_err(plainly)?)) } else { None };
    let found = dial::addresses(&address.host, address.port).await.map_err(plainly)?;
    let opened = dial::open(&found, CONNECTING, |tcp| over(tcp, tls.clone(), options)).await;
    opened.map_err(|fault| fault.to_string())
}

/// Speaks AMQP on `tcp`.
async fn over(
    tcp: TcpStream,
    tls: Option<Arc<rustls::ClientConfig>>,
    options: &Options,
) -> Result<Connection, dial::Fault<String>> {
    let here = |fault: io::Error| dial::Fault::Here(fault.to_string());
    let (line, host) = (Line::default(), options.address.host.clone());
    let guard = Guard::new(line.clone());
    line.hold(&tcp).map_err(here)?;
    let tls = tls.map(RustlsConnector::from);
    let properties = ConnectionProperties::default().with_connection_name("onsip-router".into());
    let runtime = lapin::runtime::default_runtime().map_err(|error| dial::Fault::Here(error.to_string()))?;
    let tcp = Mutex::new(Some(tcp));
    let connecting = lapin::Connection::connector(
        uri(options),
        runtime,
        async move |_, _| {
            // It is asked for once: nothing is recovered.
            let tcp = tcp.lock().unwrap_or_else(PoisonError::into_inner).take();
            let stream =
                AsyncTcpStream::Plain(tcp.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?.compat());
            match &tls {
                Some(tls) => Ok(stream.into_rustls(tls, &host).await?),
                None => Ok(stream),
            }
        },
        properties,
    );
    let said = |error: Error| {
        let reason = cause(&error).into_reason();
        match error.kind() {
            ErrorKind::ProtocolError(_) => dial::Fault::Everywhere(reason),
            _ => dial::Fault::Here(reason),
        }
    };
    let established = connecting.await.map_err(said)?;
    let channel = established.create_channel().await.map_err(said)?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(said)?;
    let (exchange, peer) = (options.exchange.clone(), options.address.to_string());
    Ok(Connection { link: established, channel, exchange, peer, fault: Mutex::new(None), guard })
}

fn uri(options: &Options) -> AMQPUri {
    let userinfo = match (&options.username, &options.password) {
        (Some(username), Some(password)) => {
            AMQPUserInfo { username: username.clone(), password: password.expose().to_owned() }
        }
        _ => AMQPUserInfo::default(),
    };
    let certified = options.username.is_none() && options.encryption.identity.is_some();
    let query = AMQPQueryString {
        heartbeat: Some(HEARTBEAT),
        auth_mechanism: certified.then_some(SASLMechanism::External),
        ..AMQPQueryString::default()
    };
    AMQPUri {
        scheme: if options.address.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority { userinfo, host: options.address.host.clone(), port: options.address.port },
        vhost: options.address.vhost.clone(),
        query,
    }
}

/// What ended the connection or the channel; where the broker has said it, in its words.
fn cause(error: &Error) -> Fault {
    let ErrorKind::ProtocolError(said) = error.kind() else {
        return Fault::Broken(match error.kind() {
            ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) => LOST.to_owned(),
            ErrorKind::IOError(fault) => fault.to_string(),
            _ => excerpt(&error.to_string()),
        });
    };
    let text = excerpt(said.get_message().as_str());
    match said.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if text.contains("message size") => {
            Fault::TooLarge(text)
        }
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            Fault::Broken(format!("{text}; check `username`, `password` and what the user may"))
        }
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Fault::Broken(format!("{text}; check the virtual host")),
        _ => Fault::Broken(text),
    }
}
