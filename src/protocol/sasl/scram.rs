//! The client's half of SCRAM without channel binding (RFC 5802, RFC 7677), and the derivation of its key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac};

use super::broken;
use crate::domain::limits::{LEAST_SCRAM_ROUNDS, SCRAM_MESSAGE_BYTES, SCRAM_ROUNDS};
use crate::domain::secret::Secret;
use crate::protocol::link::Failure;

/// The GS2 header: no channel binding, no other identity.
const GS2: &str = "n,,";

/// What a challenge asks for.
pub(super) enum Heard {
    /// The key.
    Derive(Box<Derivation>),
    /// An empty response: the server proved that it knows the password.
    Proven,
}

/// One exchange.
pub(super) struct Scram {
    sha256: bool,
    password: Secret,
    nonce: String,
    /// The first message without its GS2 header.
    first: String,
    stage: Stage,
}

enum Stage {
    /// The first message was sent.
    Begun,
    /// The key is computed, for these two messages: the server's first and our last without its proof.
    Deriving(String, String),
    /// The proof was sent. The server must have signed this with that key.
    Proved(hmac::Key, String),
    /// The server proved that it knows the password too.
    Proven,
}

/// A key under computation: PBKDF2 with one block (`Hi` of RFC 5802 section 2.2), in pieces.
pub struct Derivation {
    password: hmac::Key,
    newest: hmac::Tag,
    sum: Vec<u8>,
    left: u32,
}

impl std::fmt::Debug for Derivation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Derivation").field("left", &self.left).finish_non_exhaustive()
    }
}

/// The salted password.
pub struct Salted(Vec<u8>);

impl Derivation {
    fn new(algorithm: hmac::Algorithm, password: &Secret, salt: &[u8], rounds: u32) -> Self {
        let password = hmac::Key::new(algorithm, password.expose().as_bytes());
        let newest = hmac::sign(&password, &[salt, &1_u32.to_be_bytes()].concat());
        Self { password, newest, sum: newest.as_ref().to_vec(), left: rounds.saturating_sub(1) }
    }

    /// Computes up to `rounds` rounds more; returns the key once it is done.
    pub fn advance(&mut self, rounds: u32) -> Option<Salted> {
        for _ in 0..rounds.min(self.left) {
            self.newest = hmac::sign(&self.password, self.newest.as_ref());
            self.sum.iter_mut().zip(self.newest.as_ref()).for_each(|(sum, byte)| *sum ^= byte);
        }
        self.left = self.left.saturating_sub(rounds);
        (self.left == 0).then(|| Salted(std::mem::take(&mut self.sum)))
    }
}

impl Scram {
    /// Begins; returns the first message too. `user` and `password` are prepared.
    pub(super) fn begin(sha256: bool, user: &str, password: Secret, nonce: &str) -> (Self, String) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        let message = format!("{GS2}{first}");
        (Self { sha256, password, nonce: nonce.to_owned(), first, stage: Stage::Begun }, message)
    }

    fn algorithm(&self) -> hmac::Algorithm {
        if self.sha256 { hmac::HMAC_SHA256 } else { hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY }
    }

    /// Takes a challenge: the server's first message, or its last one, which some send before the success.
    pub(super) fn challenge(&mut self, message: &str) -> Result<Heard, Failure> {
        match &self.stage {
            Stage::Begun => {
                let (nonce, salt, rounds) = server_first(message, &self.nonce)?;
                let last = format!("c={},r={nonce}", BASE64.encode(GS2));
                let derivation = Derivation::new(self.algorithm(), &self.password, &salt, rounds);
                self.stage = Stage::Deriving(message.to_owned(), last);
                Ok(Heard::Derive(Box::new(derivation)))
            }
            Stage::Proved(key, signed) => {
                check_signature(message, key, signed)?;
                self.stage = Stage::Proven;
                Ok(Heard::Proven)
            }
            Stage::Deriving(..) | Stage::Proven => Err(broken("a challenge too many")),
        }
    }

    /// Returns our last message, with the proof.
    pub(super) fn prove(&mut self, salted: &Salted) -> Result<String, Failure> {
        let Stage::Deriving(server_first, last) = &self.stage else { return Err(broken("a key too many")) };
        let algorithm = self.algorithm();
        let salted = hmac::Key::new(algorithm, &salted.0);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored = digest::digest(algorithm.digest_algorithm(), client_key.as_ref());
        let said = format!("{},{server_first},{last}", self.first);
        let signature = hmac::sign(&hmac::Key::new(algorithm, stored.as_ref()), said.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, signature)| key ^ signature).collect();
        let message = format!("{last},p={}", BASE64.encode(proof));
        let server_key = hmac::Key::new(algorithm, hmac::sign(&salted, b"Server Key").as_ref());
        self.stage = Stage::Proved(server_key, said);
        Ok(message)
    }

    /// Takes the data of the success.
    pub(super) fn success(&self, message: &str) -> Result<(), Failure> {
        match &self.stage {
            Stage::Proved(_, _) if message.is_empty() => {
                Err(broken("success without the proof that it knows the password"))
            }
            Stage::Proved(key, signed) => check_signature(message, key, signed),
            Stage::Proven if message.is_empty() => Ok(()),
            Stage::Proven => Err(broken("a second proof")),
            Stage::Begun | Stage::Deriving(..) => Err(broken("success before we proved anything")),
        }
    }
}

/// Reads the server's first message: the whole nonce, the salt and the rounds.
fn server_first<'a>(message: &'a str, own: &str) -> Result<(&'a str, Vec<u8>, u32), Failure> {
    let fields = attributes(message)?;
    let [('r', nonce), ('s', salt), ('i', rounds), ..] = fields[..] else {
        return Err(broken("a challenge without nonce, salt and rounds"));
    };
    let printable = |nonce: &str| nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if !nonce.strip_prefix(own).is_some_and(|more| !more.is_empty() && printable(more)) {
        return Err(broken("a nonce that does not continue ours"));
    }
    let salt = BASE64.decode(salt).map_err(|_| broken("a salt that is not base64"))?;
    if salt.is_empty() {
        return Err(broken("an empty salt"));
    }
    Ok((nonce, salt, count(rounds)?))
}

/// Reads the number of rounds.
///
/// RFC 5802 and RFC 7677 name 4,096 as the least: with less a server, or who speaks for it, learns more of the password
/// from our proof than it should. All usual servers have that or more.
fn count(rounds: &str) -> Result<u32, Failure> {
    if rounds.is_empty() || rounds.starts_with('0') || !rounds.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(broken("a number of rounds that is none"));
    }
    match rounds.parse() {
        Ok(rounds) if rounds < LEAST_SCRAM_ROUNDS => Err(Failure::Protocol(format!(
            "the server asks for {rounds} rounds of SCRAM; less than {LEAST_SCRAM_ROUNDS} would give the password away"
        ))),
        Ok(rounds) if rounds <= SCRAM_ROUNDS => Ok(rounds),
        Ok(_) | Err(_) => Err(Failure::Protocol(format!(
            "the server asks for more rounds of SCRAM than the {SCRAM_ROUNDS} that are computed"
        ))),
    }
}

/// Checks the server's last message.
fn check_signature(message: &str, key: &hmac::Key, signed: &str) -> Result<(), Failure> {
    match attributes(message)?[..] {
        [('v', signature), ref more @ ..] if more.iter().all(|(name, _)| *name != 'e') => {
            let signature = BASE64.decode(signature).map_err(|_| broken("a signature that is not base64"))?;
            let checked = hmac::verify(key, signed.as_bytes(), &signature);
            checked.map_err(|_| broken("it does not know the password: its signature is wrong"))
        }
        [('e', "invalid-proof" | "unknown-user"), ..] => Err(Failure::Refused("not-authorized".to_owned())),
        [('e', "no-resources"), ..] => Err(Failure::Throttled("no-resources".to_owned())),
        [('e', _), ..] => Err(broken("it ended SCRAM with an error")),
        _ => Err(broken("a last message without a signature")),
    }
}

/// Reads the attributes of a message, in order. Extensions that are unknown are passed over, unless they are mandatory;
/// none may stand twice.
fn attributes(message: &str) -> Result<Vec<(char, &str)>, Failure> {
    if message.len() > SCRAM_MESSAGE_BYTES {
        return Err(broken("a message that is too long"));
    }
    let mut known = Vec::new();
    for attribute in message.split(',') {
        let (name, value) = attribute.split_once('=').ok_or_else(|| broken("an attribute without a value"))?;
        let mut letters = name.chars();
        let (Some(name), None) = (letters.next().filter(char::is_ascii_alphabetic), letters.next()) else {
            return Err(broken("an attribute without a name"));
        };
        if name == 'm' {
            return Err(broken("an extension that we do not know and must"));
        }
        if known.iter().any(|(other, _)| *other == name) {
            return Err(broken("an attribute that stands twice"));
        }
        known.push((name, value));
    }
    Ok(known)
}
