//! Texts that a peer may write, and how they are shown.

use std::fmt::Write as _;

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;
use crate::seed::properties;
use crate::sinks::excerpt::excerpt;

fn shown(secrets: &[&str], text: &str) -> String {
    Censor::of(secrets.iter().map(|secret| (*secret).to_owned())).clean(&excerpt(text))
}

fn each(text: &str, mut write: impl FnMut(&mut String, char)) -> String {
    let mut written = String::new();
    text.chars().for_each(|c| write(&mut written, c));
    written
}

fn percent(text: &str, keep: &str) -> String {
    each(text, |to, c| {
        if c.is_ascii_alphanumeric() || keep.contains(c) {
            to.push(c);
        } else {
            c.to_string().bytes().for_each(|byte| write!(to, "%{byte:02X}").unwrap());
        }
    })
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn references(text: &str, write_one: fn(&mut String, u32)) -> String {
    each(text, |to, c| if c.is_ascii_alphanumeric() { to.push(c) } else { write_one(to, c.into()) })
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;")
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// The secret as it is written by what echoes it.
fn spellings(secret: &str) -> Vec<String> {
    let go = |text: &str| json(text).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    vec![
        secret.to_owned(),
        json(secret),
        go(secret),
        go(secret).to_uppercase().replace("\\U", "\\u"),
        json(secret).replace('/', "\\/"),
        json(&json(secret)),
        json(&json(&go(secret))),
        html(secret),
        html(&json(secret)),
        html(&html(secret)),
        references(secret, |to, code| write!(to, "&#{code};").unwrap()),
        references(secret, |to, code| write!(to, "&#x{code:X};").unwrap()),
        references(secret, |to, code| write!(to, "&#x{code:06x};").unwrap()),
        percent(secret, ""),
        percent(secret, "").to_lowercase(),
        percent(secret, "/+=&'"),
        percent(&percent(secret, ""), ""),
        percent(secret, "-._~ ").replace(' ', "+"),
        json(&percent(secret, "")),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        STANDARD.encode(format!("Bearer {secret}")),
        STANDARD.encode(format!("user:{secret}")),
        URL_SAFE_NO_PAD.encode(format!("me:{secret}")),
        hex(secret),
        hex(secret).to_uppercase(),
        secret.to_uppercase(),
        secret.to_lowercase(),
        format!("{secret:?}"),
        format!("{:?}", secret.escape_unicode().to_string()),
        secret.as_bytes().escape_ascii().to_string(),
    ]
}

/// Whether eight characters of `secret` in a row can be read in `text`, whatever their case.
fn leaks(text: &str, secret: &str) -> bool {
    let (text, secret): (String, Vec<char>) = (text.to_lowercase(), secret.to_lowercase().chars().collect());
    secret.windows(RUN.min(secret.len())).any(|run| text.contains(&run.iter().collect::<String>()))
}

#[test]
fn f9_a_secret_is_blacked_out_also_at_the_edge_and_within_another() {
    assert_eq!(shown(&["hunter2", "whsec_hunter2"], "key whsec_hunter2 or hunter2"), "key [secret] or [secret]");
    let edge = format!("{} hunter2 and more", "x".repeat(195));
    assert_eq!(shown(&["hunter2"], &edge), format!("{} [secret]…", "x".repeat(195)));
    assert_eq!(shown(&["two  words"], "two  words"), "[secret]");
    assert_eq!(shown(&["hun\u{200b}ter2", "hunter2"], "hun\u{200b}ter2"), "[secret]");
    assert_eq!(shown(&["", "abc"], "abc text"), "abc text");
}

#[test]
fn f9_a_secret_is_known_however_a_peer_writes_it_and_however_much_of_it() {
    let secret = "a/b+c\"d&e f=";
    for text in [r#"a\/b+c\"d&e f="#, r#"a/b+c\"d&e f="#, "a/b+c&quot;d&amp;e f=", "a%2Fb%2Bc%22d%26e%20f%3D"] {
        assert_eq!(shown(&[secret], &format!("<{text}>")), "<[secret]>");
    }
    assert_eq!(shown(&[secret], &STANDARD.encode(secret)), "[secret]");
    let long = "eyJhbGciOiJub25lIn0.e30.0123456789";
    assert_eq!(shown(&[long], "beginning with: 'eyJhbGciOiJub25l'"), "beginning with: '[secret]'");
}

#[test]
fn c3_a_secret_in_whatever_spelling_is_one_blot_and_what_is_around_it_stays() {
    let secret = "tokAA<bb>&cc'dd+/ee=\\ff9f8e7d6c5b4a";
    for text in spellings(secret) {
        let said = shown(&[secret], &format!("no ({text}) here"));
        assert!(said.contains(BLACK) && !leaks(&said, secret), "{text}: {said}");
        assert!(said.starts_with("no (") && (said.ends_with(") here") || said.contains(CUT)), "{text}: {said}");
    }
    for part in ["...A<bb>&cc'dd+/ee=\\ff9f8e7d6c5b4a", "tokAA<bb>&\ncc'dd+/ee=\\ff", "ending in e7d6c5b4a"] {
        let said = shown(&[secret], part);
        assert!(!leaks(&said, secret) && said.contains(BLACK), "{said}");
    }
    let plain =
        "HTTP 401: the token is invalid, ask for another at https://crm.test/%C3%A9tat?a=1&lt=2 \\o/ &amp; \\u00e9";
    assert_eq!(shown(&[secret, "correct horse battery"], plain), plain);
}

properties! {
    cases: 64;
    #[test]
    fn c3_no_secret_of_eight_characters_or_more_is_shown_in_any_spelling(
        secret in "[ -~]{8,40}|[a-zA-Z0-9+/=_.-]{8,60}|[!-~äöüß€]{8,30}|[%&\\\\u0-9a-f;#x]{8,30}",
        before in "[ -~]{0,30}",
    ) {
        prop_assume!(secret.split_whitespace().collect::<String>().chars().count() >= RUN);
        // What a peer says of its own accord is no secret.
        prop_assume!(!leaks(&before, &secret));
        let secret = secret.split_whitespace().collect::<Vec<_>>().join(" ");
        let censor = Censor::of([secret.clone()]);
        for (spelling, text) in spellings(&secret).into_iter().enumerate() {
            let said = censor.clean(&excerpt(&format!("{before} {text}")));
            let visible: Vec<String> = views(&said).iter().map(|view| view.chars().collect()).collect();
            prop_assert!(visible.iter().all(|text| !leaks(text, &secret)), "{spelling}: {text} {said}");
            if (19..=25).contains(&spelling) {
                prop_assert!(said.contains(BLACK), "{spelling}: {text} {said}");
            }
        }
    }
}
