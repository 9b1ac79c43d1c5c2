//! Log-in: whatever a server says, in whatever order, it is believed only with the signature of RFC 5802's example, and no
//! failure repeats the password or goes on for long.
//!
//! Each line of an input is one message: a letter for its kind, and its text.

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use minidom::Element;
use onsip_router::domain::secret::Secret;
use onsip_router::protocol::link::Failure;
use onsip_router::protocol::sasl::{Exchange, Mechanisms, Salted, Step};
use onsip_router::protocol::stanza::{Challenge, challenge};

const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";
const FIRST: &str = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
const SIGNATURE: &str = "rmF9pqV8S7suAoZWja4dJRkFsKQ";
const PASSWORD: &str = "pencil";

/// The key of the example: computed once, as it takes longer than all the rest.
static SALTED: LazyLock<Salted> = LazyLock::new(|| {
    let mut exchange = begun();
    match exchange.hear(Challenge::Answer(BASE64_STANDARD.encode(FIRST))) {
        Ok(Step::Derive(mut derivation)) => derivation.advance(4096).expect("the whole key"),
        other => panic!("{other:?}"),
    }
});

/// Pieces of messages.
pub const WORDS: &[&str] = &[
    "\n",
    "c",
    "s",
    "f",
    "x",
    "b",
    ",",
    "=",
    "r=",
    "s=",
    "i=",
    "v=",
    "e=",
    "m=",
    "p=",
    "h=x",
    "4096",
    "4095",
    "1",
    "0",
    "4294967295",
    NONCE,
    FIRST,
    SIGNATURE,
    "e=invalid-proof",
    "invalid-mechanism",
    "mechanism-too-weak",
    "not-authorized",
    "temporary-auth-failure",
    "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>",
    "</success>",
    "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>",
    "</challenge>",
    "<failure/>",
    "é",
    "\0",
    "====",
];

fn begun() -> Exchange {
    let password = Secret::from(PASSWORD.to_owned());
    let offered = ["SCRAM-SHA-1".to_owned()];
    let mut exchange = Exchange::new("user", &password, &offered, true, Mechanisms::default()).expect("a mechanism");
    exchange.begin(NONCE).expect("a first message");
    exchange
}

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut exchange = begun();
    for line in text.lines() {
        let Some(kind) = line.chars().next() else { continue };
        let rest = &line[kind.len_utf8()..];
        let said = match kind {
            'c' => Challenge::Answer(BASE64_STANDARD.encode(rest)),
            's' => Challenge::Success(BASE64_STANDARD.encode(rest)),
            'b' => Challenge::Answer(rest.to_owned()),
            'f' => Challenge::Failure("invalid-mechanism"),
            _ => match rest.parse::<Element>() {
                Ok(element) => challenge(&element),
                Err(_) => continue,
            },
        };
        let mut step = exchange.hear(said);
        if let Ok(Step::Derive(_)) = step {
            if rest != FIRST {
                return; // its key would have to be computed
            }
            step = exchange.derived(&SALTED);
        }
        match step {
            Ok(Step::Done) => {
                assert!(text.contains(SIGNATURE), "believed without the signature");
                return;
            }
            Ok(Step::Send(_)) => {}
            Ok(Step::Begin) => match exchange.begin(NONCE) {
                Err(Failure::NoMechanism(_)) => return,
                other => panic!("{other:?}"),
            },
            Ok(Step::Derive(_)) => panic!("a second key"),
            Err(failure) => {
                let told = failure.why();
                assert!(told.len() < 200 && !told.contains(PASSWORD), "{told}");
                return;
            }
        }
    }
}
