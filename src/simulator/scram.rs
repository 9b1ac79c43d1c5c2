//! The server's half of SCRAM without channel binding (RFC 5802).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sasl::common::Password;
use sasl::common::scram::{ScramProvider, Sha1, Sha256};

/// Enough for a simulation; a real service stores the result instead of computing it.
const ITERATIONS: u32 = 4096;

/// How a client may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// SASL PLAIN.
    Plain,
    /// SASL SCRAM-SHA-1.
    ScramSha1,
    /// SASL SCRAM-SHA-256.
    ScramSha256,
}

impl Mechanism {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }
}

/// The first message of a client.
pub(super) struct ClientFirst<'a> {
    gs2: &'a str,
    bare: &'a str,
    pub(super) nonce: &'a str,
    pub(super) user: String,
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(message: &'a str) -> Option<Self> {
        let bare = message.find(",n=").map(|comma| comma + 1)?;
        let (gs2, bare) = message.split_at(bare);
        if !gs2.starts_with(['n', 'y']) {
            return None; // channel binding is not offered
        }
        let user = value(bare, "n=")?.replace("=2C", ",").replace("=3D", "=");
        Some(Self { gs2, bare, nonce: value(bare, "r=")?, user })
    }
}

/// A log-in that waits for the client's proof.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) user: String,
    mechanism: Mechanism,
    gs2: String,
    messages: String,
    nonce: String,
    salted: Vec<u8>,
}

impl Challenge {
    /// The challenge, and the message that says it.
    pub(super) fn new(
        mechanism: Mechanism,
        first: &ClientFirst<'_>,
        password: &str,
        nonce: &str,
    ) -> Option<(Self, String)> {
        let password = Password::Plain(stringprep::saslprep(password).ok()?.into_owned());
        let salt = first.user.as_bytes();
        let salted = match mechanism {
            Mechanism::Plain => return None,
            Mechanism::ScramSha1 => Sha1::derive(&password, salt, ITERATIONS),
            Mechanism::ScramSha256 => Sha256::derive(&password, salt, ITERATIONS),
        };
        let nonce = format!("{}{nonce}", first.nonce);
        let message = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(salt));
        let challenge = Self {
            user: first.user.clone(),
            mechanism,
            gs2: first.gs2.to_owned(),
            messages: format!("{},{message}", first.bare),
            nonce,
            salted: salted.ok()?,
        };
        Some((challenge, message))
    }

    /// The last message to the client, if its proof is right.
    pub(super) fn finish(&self, message: &str) -> Option<String> {
        let (bare, proof) = message.split_once(",p=")?;
        let bound = value(bare, "c=")? == BASE64.encode(&self.gs2);
        if !bound || value(bare, "r=")? != self.nonce {
            return None;
        }
        let said = format!("{},{bare}", self.messages);
        let client_key = self.hmac(b"Client Key", &self.salted)?;
        let signature = self.hmac(said.as_bytes(), &self.hash(&client_key))?;
        let expected: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        if BASE64.decode(proof).ok()? != expected {
            return None;
        }
        let server_key = self.hmac(b"Server Key", &self.salted)?;
        Some(format!("v={}", BASE64.encode(self.hmac(said.as_bytes(), &server_key)?)))
    }

    fn hmac(&self, data: &[u8], key: &[u8]) -> Option<Vec<u8>> {
        match self.mechanism {
            Mechanism::Plain => None,
            Mechanism::ScramSha1 => Sha1::hmac(data, key).ok(),
            Mechanism::ScramSha256 => Sha256::hmac(data, key).ok(),
        }
    }

    fn hash(&self, data: &[u8]) -> Vec<u8> {
        match self.mechanism {
            Mechanism::Plain => Vec::new(),
            Mechanism::ScramSha1 => Sha1::hash(data),
            Mechanism::ScramSha256 => Sha256::hash(data),
        }
    }
}

fn value<'a>(message: &'a str, key: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_of_the_rfc_comes_out_right() {
        // RFC 5802 section 5; the server's salt is replaced by ours.
        let first = ClientFirst::parse("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL").unwrap();
        let (challenge, said) = Challenge::new(Mechanism::ScramSha1, &first, "pencil", "3rfcNHYJY1ZVvWVs7j").unwrap();
        assert_eq!(said, "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=dXNlcg==,i=4096");
        assert_eq!(challenge.finish("c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=AAAA"), None);
        assert!(ClientFirst::parse("p=tls-exporter,,n=user,r=x").is_none());
    }
}
