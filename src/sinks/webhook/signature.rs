//! The signatures of [Standard Webhooks](https://www.standardwebhooks.com): `v1` (HMAC-SHA256) and `v1a` (ed25519).
//!
//! Must not know HTTP.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ed25519_dalek::Signer;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::secret::Secret;

const SYMMETRIC: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// Base64 with or without its `=`.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key to sign with.
#[derive(Clone)]
pub struct SigningKey {
    text: Secret,
    scheme: Scheme,
}

#[derive(Clone)]
enum Scheme {
    V1(Hmac<Sha256>),
    V1a(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// Reads a key: `whsec_` and base64, `whsk_` and base64 of an ed25519 key (its seed, or seed and public key), or
    /// anything else as the bytes of an HMAC key.
    ///
    /// # Errors
    /// What is wrong, as a sentence for the operator that does not repeat it.
    pub(super) fn read(text: Secret) -> Result<Self, String> {
        let scheme = scheme(text.expose())?;
        Ok(Self { text, scheme })
    }

    /// The signature of `body`, as it stands in the header.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        match &self.scheme {
            Scheme::V1(key) => {
                let signature = key.clone().chain_update(head).chain_update(body).finalize();
                format!("v1,{}", STANDARD.encode(signature.into_bytes()))
            }
            Scheme::V1a(key) => {
                let signature = key.sign(&[head.as_bytes(), body].concat());
                format!("v1a,{}", STANDARD.encode(signature.to_bytes()))
            }
        }
    }

    /// What nobody may read.
    pub(super) fn confidential(&self) -> [String; 2] {
        let text = self.text.expose();
        let bare = text.strip_prefix(SYMMETRIC).or_else(|| text.strip_prefix(PRIVATE)).unwrap_or(text);
        [text.to_owned(), bare.trim_end_matches('=').to_owned()]
    }
}

fn scheme(text: &str) -> Result<Scheme, String> {
    if text.starts_with(PUBLIC) {
        return Err(format!("is a public key; the router signs with the private one, which begins with {PRIVATE}"));
    }
    if let Some(encoded) = text.strip_prefix(PRIVATE) {
        return private(&decoded(PRIVATE, encoded)?).map(|key| Scheme::V1a(Box::new(key)));
    }
    let key = match text.strip_prefix(SYMMETRIC) {
        Some(encoded) => Hmac::new_from_slice(&decoded(SYMMETRIC, encoded)?),
        None => Hmac::new_from_slice(text.as_bytes()),
    };
    key.map(Scheme::V1).map_err(|fault| fault.to_string())
}

fn decoded(prefix: &str, encoded: &str) -> Result<Vec<u8>, String> {
    let decoded = LENIENT.decode(encoded).map_err(|_| format!("has no base64 after {prefix}"))?;
    if decoded.is_empty() { Err(format!("has no key after {prefix}")) } else { Ok(decoded) }
}

fn private(bytes: &[u8]) -> Result<ed25519_dalek::SigningKey, String> {
    if let Ok(seed) = bytes.try_into() {
        return Ok(ed25519_dalek::SigningKey::from_bytes(seed));
    }
    let pair = bytes.try_into().map_err(|_| format!("needs the 32 or 64 bytes of an ed25519 key after {PRIVATE}"))?;
    ed25519_dalek::SigningKey::from_keypair_bytes(pair)
        .map_err(|_| "is an ed25519 key whose two halves do not belong together".to_owned())
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, Verifier};
    use standardwebhooks::Webhook;

    use super::*;

    fn key(text: &str) -> Result<SigningKey, String> {
        SigningKey::read(text.to_owned().into())
    }

    #[test]
    fn a_symmetric_signature_is_that_of_the_reference_implementation() {
        let (id, at, body) = ("event-1", 1_674_087_231, "{\"a\":\"☎\"}");
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let expected = Webhook::new(text).unwrap().sign(id, at, body.as_bytes()).unwrap();
        assert_eq!(key(text).unwrap().sign(id, at, body.as_bytes()), expected);
        let expected = Webhook::from_bytes(b"plain text".to_vec()).unwrap().sign(id, at, body.as_bytes()).unwrap();
        assert_eq!(key("plain text").unwrap().sign(id, at, body.as_bytes()), expected);
    }

    #[test]
    fn an_asymmetric_signature_is_verified_with_the_public_key() {
        let pair = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        for bytes in [&pair.to_bytes()[..], &pair.to_keypair_bytes()[..]] {
            let signed = key(&format!("whsk_{}", STANDARD.encode(bytes))).unwrap().sign("i", 5, b"body");
            let signature = Signature::from_slice(&STANDARD.decode(signed.strip_prefix("v1a,").unwrap()).unwrap());
            assert!(pair.verifying_key().verify(b"i.5.body", &signature.unwrap()).is_ok());
        }
    }

    #[test]
    fn base64_may_lack_its_end() {
        let body = b"x";
        let (with, without) = (key("whsec_aGVsbG8=").unwrap(), key("whsec_aGVsbG8").unwrap());
        assert_eq!(with.sign("i", 1, body), without.sign("i", 1, body));
    }

    #[test]
    fn what_is_no_key_says_why_without_repeating_it() {
        let mut mixed = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).to_keypair_bytes();
        mixed[40] ^= 1;
        for (text, why) in [
            ("whsec_*hunter2*", "has no base64 after whsec_"),
            ("whsec_", "has no key after whsec_"),
            ("whsk_aHVudGVyMg==", "needs the 32 or 64 bytes of an ed25519 key after whsk_"),
            ("whpk_hunter2", "is a public key; the router signs with the private one, which begins with whsk_"),
            (&format!("whsk_{}", STANDARD.encode(mixed)), "is an ed25519 key whose two halves do not belong together"),
        ] {
            assert_eq!(key(text).unwrap_err(), why);
        }
        assert_eq!(format!("{:?}", key("hunter2").unwrap()), "[secret]");
    }
}
