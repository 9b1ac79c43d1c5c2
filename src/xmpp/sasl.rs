//! The SASL exchange (RFC 6120 section 6), by hand because the library's own takes an end of the stream for bad XML.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{SinkExt, StreamExt};
use minidom::Element;
use sasl::client::Mechanism;
use sasl::client::mechanisms::{Plain, Scram};
use sasl::common::Credentials;
use sasl::common::scram::{Sha1, Sha256};
use tokio_xmpp::xmlstream::ReadError;

use super::failure;
use super::frame::Frame;
use super::login::Stream;
use crate::protocol::link::Failure;
use crate::protocol::stanza::{self, Challenge};

type Chosen = Box<dyn Mechanism + Send + Sync>;

/// A mechanism we allow.
struct Allowed {
    name: &'static str,
    /// Whether only where nobody can listen.
    private: bool,
    make: fn(Credentials) -> Option<Chosen>,
}

/// In order of preference. ANONYMOUS is never among them.
const MECHANISMS: [Allowed; 3] = [
    Allowed {
        name: "SCRAM-SHA-256",
        private: false,
        make: |credentials| Some(Box::new(Scram::<Sha256>::from_credentials(credentials).ok()?)),
    },
    Allowed {
        name: "SCRAM-SHA-1",
        private: false,
        make: |credentials| Some(Box::new(Scram::<Sha1>::from_credentials(credentials).ok()?)),
    },
    Allowed {
        name: "PLAIN",
        private: true,
        make: |credentials| Some(Box::new(Plain::from_credentials(credentials).ok()?)),
    },
];

/// Proves who we are with the best mechanism that is `offered` and allowed; the stream must then begin anew.
pub(super) async fn authenticate(
    stream: &mut Stream,
    offered: impl Fn(&str) -> bool,
    private: bool,
    credentials: &Credentials,
) -> Result<(), Failure> {
    let mut allowed = MECHANISMS.iter().filter(|known| offered(known.name) && (private || !known.private));
    let chosen = allowed.find_map(|known| Some((known.name, (known.make)(credentials.clone())?)));
    let Some((name, mut mechanism)) = chosen else {
        return Err(Failure::Protocol("the server offers no log-in mechanism that we allow".to_owned()));
    };
    send(stream, &stanza::sasl_auth(name, &BASE64.encode(mechanism.initial()))).await?;
    loop {
        let element = next(stream).await?;
        if let Some(error) = stanza::stream_error(&element) {
            return Err(failure::of_stream(error));
        }
        match stanza::challenge(&element) {
            Challenge::Answer(data) => {
                let data = BASE64.decode(data).map_err(|_| broken())?;
                let response = mechanism.response(&data).map_err(|_| broken())?;
                send(stream, &stanza::sasl_response(&BASE64.encode(response))).await?;
            }
            Challenge::Success(data) => {
                let data = BASE64.decode(data).map_err(|_| broken())?;
                return if data.is_empty() { Ok(()) } else { mechanism.success(&data).map_err(|_| broken()) };
            }
            Challenge::Failure(condition) => return Err(failure::of_sasl(&condition)),
            Challenge::Other => return Err(broken()),
        }
    }
}

/// What was exchanged is not told: it holds the password.
fn broken() -> Failure {
    Failure::Protocol("the server failed the log-in exchange".to_owned())
}

async fn send(stream: &mut Stream, element: &Element) -> Result<(), Failure> {
    stream.send(element).await.map_err(|fault| failure::of_io(&fault))
}

async fn next(stream: &mut Stream) -> Result<Element, Failure> {
    loop {
        match stream.next().await {
            Some(Ok(Frame::Whole(element))) => return Ok(element),
            Some(Err(ReadError::SoftTimeout)) => {} // the log-in as a whole has its time
            Some(Err(ReadError::HardError(fault))) => return Err(failure::of_io(&fault)),
            Some(Ok(Frame::Oversize { .. }) | Err(ReadError::ParseError(_))) => return Err(broken()),
            Some(Err(ReadError::StreamFooterReceived)) | None => {
                return Err(Failure::Network("the server closed the stream during log-in".to_owned()));
            }
        }
    }
}
