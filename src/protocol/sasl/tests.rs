use proptest::prelude::*;

use super::*;
use crate::domain::limits::SCRAM_ROUNDS;

const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";
const FIRST: &str = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
const LAST: &str = "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=";

fn exchange(user: &str, password: &str, offered: &[&str]) -> Exchange {
    let offered: Vec<_> = offered.iter().map(|name| (*name).to_owned()).collect();
    let password = Secret::from(password.to_owned());
    Exchange::new(user, &password, &offered, true, Mechanisms::default()).unwrap()
}

/// The mechanism of what is sent, if it begins with one, and its data.
fn sent(step: Result<Step, Failure>) -> (Option<String>, String) {
    let Ok(Step::Send(element)) = step else { panic!("{step:?}") };
    let data = String::from_utf8(BASE64.decode(element.text().trim_start_matches('=')).unwrap()).unwrap();
    (element.attr("mechanism").map(str::to_owned), data)
}

fn answer(text: &str) -> Challenge {
    Challenge::Answer(BASE64.encode(text))
}

fn success(text: &str) -> Challenge {
    Challenge::Success(BASE64.encode(text))
}

fn key(step: Result<Step, Failure>) -> Salted {
    let Ok(Step::Derive(mut derivation)) = step else { panic!("{step:?}") };
    loop {
        if let Some(salted) = derivation.advance(1000) {
            return salted;
        }
    }
}

/// The example of RFC 5802 up to our proof.
fn proved() -> (Exchange, String) {
    let mut exchange = exchange("user", "pencil", &["SCRAM-SHA-1"]);
    exchange.begin(NONCE).unwrap();
    let salted = key(exchange.hear(answer(FIRST)));
    let proof = sent(exchange.derived(&salted)).1;
    (exchange, proof)
}

fn is_protocol(step: &Result<Step, Failure>) -> bool {
    matches!(step, Err(Failure::Protocol(_)))
}

#[test]
fn the_exchange_of_rfc_5802_comes_out_right() {
    let mut exchange = exchange("user", "pencil", &["SCRAM-SHA-1"]);
    let first = sent(exchange.begin(NONCE));
    assert_eq!(first, (Some("SCRAM-SHA-1".to_owned()), format!("n,,n=user,r={NONCE}")));
    let salted = key(exchange.hear(answer(FIRST)));
    let last = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
    assert_eq!(sent(exchange.derived(&salted)), (None, last.to_owned()));
    assert!(matches!(exchange.hear(success(LAST)), Ok(Step::Done)));
}

#[test]
fn the_exchange_of_rfc_7677_comes_out_right() {
    let mut exchange = exchange("user", "pencil", &["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]);
    let first = sent(exchange.begin("rOprNGfwEbeRWgbNEkqO"));
    assert_eq!(first, (Some("SCRAM-SHA-256".to_owned()), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned()));
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let salted = key(exchange.hear(answer(&format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))));
    let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_eq!(sent(exchange.derived(&salted)), (None, last));
    // Some servers put their last message into a challenge, and the success says no more.
    assert_eq!(sent(exchange.hear(answer("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="))), (None, String::new()));
    assert!(matches!(exchange.hear(success("")), Ok(Step::Done)));
}

#[test]
fn c5_success_is_believed_only_with_the_signature() {
    let (_, proof) = proved();
    assert!(proof.ends_with("p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="));
    for wrong in [
        success(""),
        success("v="),
        success("v=AAAA"),
        success("v=rmF9pqV8S7suAoZWja4dJRkFsKU="),
        success("x=1,v=rmF9pqV8S7suAoZWja4dJRkFsKQ="),
        success("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=,v=rmF9pqV8S7suAoZWja4dJRkFsKQ="),
        success("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=,m=1"),
        success("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=,e=other-error"),
        success("e=other-error"),
        success("rmF9"),
        Challenge::Success("!".to_owned()),
        Challenge::Success(BASE64.encode([0xff])),
        answer(FIRST),
        answer(""),
        Challenge::Other,
    ] {
        let (mut exchange, _) = proved();
        let said = format!("{wrong:?}");
        assert!(is_protocol(&exchange.hear(wrong)), "{said}");
    }
    let (mut exchange, _) = proved();
    assert!(matches!(exchange.hear(success(&format!("{LAST},x=an extension"))), Ok(Step::Done)));
    for refused in ["e=invalid-proof", "e=unknown-user"] {
        let (mut exchange, _) = proved();
        assert!(matches!(exchange.hear(answer(refused)), Err(Failure::Refused(_))), "{refused}");
    }
}

#[test]
fn c5_nothing_may_come_twice_or_early() {
    for early in [success(""), success(LAST), Challenge::Other] {
        let mut exchange = exchange("user", "pencil", &["SCRAM-SHA-1"]);
        exchange.begin(NONCE).unwrap();
        assert!(is_protocol(&exchange.hear(early)));
    }
    let mut twice = exchange("user", "pencil", &["SCRAM-SHA-1"]);
    twice.begin(NONCE).unwrap();
    twice.hear(answer(FIRST)).unwrap();
    assert!(is_protocol(&twice.hear(answer(FIRST))), "while the key is computed");
    for late in [answer(LAST), success(LAST), answer("")] {
        let (mut exchange, _) = proved();
        exchange.hear(answer(LAST)).unwrap();
        assert!(is_protocol(&exchange.hear(late)));
    }
    let mut plain = exchange("user", "pencil", &["PLAIN"]);
    assert_eq!(sent(plain.begin(NONCE)), (Some("PLAIN".to_owned()), "\0user\0pencil".to_owned()));
    assert!(is_protocol(&plain.hear(answer(""))));
    assert!(is_protocol(&plain.hear(success("more"))));
    assert!(matches!(plain.hear(success("")), Ok(Step::Done)));
}

#[test]
fn c5_a_challenge_that_rfc_5802_forbids_is_refused() {
    let nonce = format!("{NONCE}3rfc");
    let long = "x".repeat(5000);
    for bad in [
        format!("r={NONCE},s=QSXCR+Q6sek8bf92,i=4096"),
        "r=3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096".to_owned(),
        format!("r=x{nonce},s=QSXCR+Q6sek8bf92,i=4096"),
        format!("r={NONCE}\u{1},s=QSXCR+Q6sek8bf92,i=4096"),
        format!("r={NONCE}ä,s=QSXCR+Q6sek8bf92,i=4096"),
        format!("r={nonce}{long},s=QSXCR+Q6sek8bf92,i=4096"),
        format!("r={nonce},s=,i=4096"),
        format!("r={nonce},s=!,i=4096"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92"),
        format!("s=QSXCR+Q6sek8bf92,r={nonce},i=4096"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i="),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=0"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=1"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4095"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=04096"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=+4096"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=-4096"),
        format!("m=x,r={nonce},s=QSXCR+Q6sek8bf92,i=4096"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096,m=x"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096,i=4097"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096,x"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096,"),
        format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096,xy=1"),
        LAST.to_owned(),
        "e=other-error".to_owned(),
        String::new(),
    ] {
        let mut exchange = exchange("user", "pencil", &["SCRAM-SHA-1", "PLAIN"]);
        exchange.begin(NONCE).unwrap();
        let step = exchange.hear(answer(&bad));
        assert!(
            matches!(&step, Err(Failure::Protocol(why)) if !why.contains("pencil") && why.len() < 150),
            "{bad}: {step:?}"
        );
        assert_eq!(exchange.refused(), Mechanisms::default(), "a server that cheats is not given PLAIN instead");
    }
    let mut extended = exchange("user", "pencil", &["SCRAM-SHA-1"]);
    extended.begin(NONCE).unwrap();
    let step = extended.hear(answer(&format!("r={nonce},s=QSXCR+Q6sek8bf92,i=10000,h=a=b,x=an extension")));
    assert!(matches!(step, Ok(Step::Derive(_))));
}

#[test]
fn c4_no_more_rounds_than_allowed_are_begun() {
    for (rounds, allowed) in
        [("4096", true), ("1000000", true), ("1000001", false), ("4294967295", false), ("99999999999999999999", false)]
    {
        let mut exchange = exchange("user", "pencil", &["SCRAM-SHA-256"]);
        exchange.begin(NONCE).unwrap();
        let step = exchange.hear(answer(&format!("r={NONCE}x,s=QSXCR+Q6sek8bf92,i={rounds}")));
        match step {
            Ok(Step::Derive(mut derivation)) => {
                assert!(allowed);
                assert!(derivation.advance(100).is_none(), "it can be given up after every piece");
            }
            Err(Failure::Protocol(why)) => assert!(!allowed && why.contains(&SCRAM_ROUNDS.to_string()), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn b6_a_refused_mechanism_leads_to_the_next_one_and_is_remembered() {
    let all = ["PLAIN", "X-OAUTH2", "SCRAM-SHA-1", "SCRAM-SHA-256"].map(str::to_owned);
    let password = Secret::from("pencil".to_owned());
    let new = |private, refused| Exchange::new("user", &password, &all, private, refused);
    let mut exchange = new(true, Mechanisms::default()).unwrap();
    for (expected, refusal) in
        [("SCRAM-SHA-256", "invalid-mechanism"), ("SCRAM-SHA-1", "mechanism-too-weak"), ("PLAIN", "invalid-mechanism")]
    {
        assert_eq!(sent(exchange.begin(NONCE)).0.as_deref(), Some(expected));
        // A server may close the stream here: the next attempt goes on where this one ended.
        let mut again = new(true, exchange.refused()).unwrap();
        assert_eq!(sent(again.begin(NONCE)).0.as_deref(), Some(expected));
        assert!(matches!(exchange.hear(Challenge::Failure(refusal)), Ok(Step::Begin)));
    }
    assert!(matches!(exchange.begin(NONCE), Err(Failure::NoMechanism(why)) if why.contains("SCRAM-SHA-256")));
    // All of them were refused: what is known helps nobody, and the server may have been mended.
    assert_eq!(sent(new(true, exchange.refused()).unwrap().begin(NONCE)).0.as_deref(), Some("SCRAM-SHA-256"));
    // Where somebody may listen, PLAIN is none of those left.
    let mut open = new(false, Mechanisms::default()).unwrap();
    for _ in 0..2 {
        open.begin(NONCE).unwrap();
        open.hear(Challenge::Failure("invalid-mechanism")).unwrap();
    }
    assert!(matches!(open.begin(NONCE), Err(Failure::NoMechanism(_))));
    assert!(matches!(
        Exchange::new("user", &password, &all[..2], false, Mechanisms::default()),
        Err(Failure::NoMechanism(_))
    ));
}

#[test]
fn b6_other_failures_do_not_lead_to_another_mechanism() {
    for (condition, expected) in [
        ("not-authorized", "Refused"),
        ("account-disabled", "Refused"),
        ("temporary-auth-failure", "Throttled"),
        ("encryption-required", "Protocol"),
        ("malformed-request", "Protocol"),
        ("undefined-condition", "Protocol"),
    ] {
        let mut exchange = exchange("user", "pencil", &["SCRAM-SHA-1", "PLAIN"]);
        exchange.begin(NONCE).unwrap();
        let failure = exchange.hear(Challenge::Failure(condition)).unwrap_err();
        assert!(format!("{failure:?}").starts_with(expected), "{failure:?}");
    }
}

#[test]
fn b7_user_and_password_are_escaped_and_prepared() {
    let mut escaped = exchange("a=b,c", "pencil", &["SCRAM-SHA-1"]);
    assert_eq!(sent(escaped.begin(NONCE)).1, format!("n,,n=a=3Db=2Cc,r={NONCE}"));
    // The examples of RFC 4013 section 3, and those that people met.
    for (as_typed, prepared) in [
        ("I\u{ad}X", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u{aa}", "a"),
        ("\u{2168}", "IX"),
        ("e\u{301}t\u{e9}", "\u{e9}t\u{e9}"),
        ("open\u{a0}sesame", "open sesame"),
    ] {
        assert_eq!(prepare("u", &Secret::from(as_typed.to_owned())).unwrap().1.expose(), prepared, "{as_typed:?}");
        let mut plain = exchange("u", as_typed, &["PLAIN"]);
        assert_eq!(sent(plain.begin(NONCE)).1, format!("\0u\0{as_typed}"), "the server prepares it");
    }
    for forbidden in ["\u{7}", "\u{627}1", "a\u{e000}", "\u{ad}"] {
        let password = Secret::from(forbidden.to_owned());
        let failed = |offered: &str| Exchange::new("u", &password, &[offered.to_owned()], true, Mechanisms::default());
        assert!(
            matches!(failed("SCRAM-SHA-1"), Err(Failure::Refused(why)) if why.contains("SASLprep")),
            "{forbidden:?}"
        );
        assert!(failed("PLAIN").is_ok());
    }
}

proptest! {
    /// Whatever a server says, without the signature there is no success, and no failure repeats what was said.
    #[test]
    fn c5_no_sequence_of_answers_without_the_signature_is_believed(
        said in proptest::collection::vec((0..4_u8, "[rsimvex]?=?[a-zA-Z0-9+/=,]{0,40}"), 1..6)
    ) {
        let mut exchange = exchange("user", "pencil-pencil", &["SCRAM-SHA-1"]);
        exchange.begin(NONCE).unwrap();
        for (kind, text) in said {
            let step = match kind {
                0 => exchange.hear(answer(&text)),
                1 => exchange.hear(success(&text)),
                2 => exchange.hear(Challenge::Success(text)),
                _ => exchange.hear(answer(&format!("r={NONCE}{text},s=QSXCR+Q6sek8bf92,i=4096"))),
            };
            match step {
                Ok(Step::Derive(mut derivation)) => {
                    let salted = derivation.advance(4096).unwrap();
                    exchange.derived(&salted).unwrap();
                }
                Ok(step) => prop_assert!(false, "{step:?}"),
                Err(failure) => {
                    let told = format!("{failure:?}");
                    prop_assert!(!told.contains("pencil"));
                }
            }
        }
    }
}
