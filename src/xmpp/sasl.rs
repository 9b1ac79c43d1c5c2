//! The SASL exchange (RFC 6120 section 6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sasl::client::Mechanism;
use sasl::client::mechanisms::{Plain, Scram};
use sasl::common::Credentials;
use sasl::common::scram::{Sha1, Sha256};

use super::exchange::{receive, send};
use super::failure;
use super::stream::{Frame, Stream};
use crate::protocol::link::Failure;
use crate::protocol::stanza::{self, Challenge, Features};

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
    offered: &Features,
    private: bool,
    credentials: &Credentials,
) -> Result<(), Failure> {
    let offered = |name: &str| offered.mechanisms.iter().any(|offered| offered == name);
    let mut allowed = MECHANISMS.iter().filter(|known| offered(known.name) && (private || !known.private));
    let chosen = allowed.find_map(|known| Some((known.name, (known.make)(credentials.clone())?)));
    let Some((name, mut mechanism)) = chosen else {
        return Err(Failure::Protocol("the server offers no log-in mechanism that we allow".to_owned()));
    };
    send(stream, &stanza::sasl_auth(name, &BASE64.encode(mechanism.initial()))).await?;
    loop {
        let Frame::Element(element) = receive(stream).await? else { return Err(broken()) };
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
