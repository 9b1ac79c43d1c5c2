//! Keeps what we sent in secret out of what peers say: servers like to repeat it.
//!
//! Every answer of every sink passes here. Must not know who says what.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Failure;
use super::excerpt::CUT;

/// Stands where a secret stood.
const BLACK: &str = "[secret]";
/// A shorter text is no secret, and would black out half of every answer.
const SHORTEST: usize = 4;
/// So much of the beginning of a secret is recognized wherever it stands: peers cut off what is long.
const BEGINNING: usize = 8;

/// Knows what nobody may read.
#[derive(Clone, Default)]
pub(super) struct Censor {
    /// In every way in which they may be written.
    secrets: Vec<String>,
}

impl Censor {
    /// Knows `secrets`, also as peers write them into JSON, HTML and addresses.
    pub(super) fn of(secrets: impl IntoIterator<Item = String>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| secret.trim().len() >= SHORTEST);
        let mut secrets: Vec<_> = secrets.flat_map(|secret| written(&secret)).collect();
        secrets.sort();
        secrets.dedup();
        Self { secrets }
    }

    /// Returns `text` without the secrets in it.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            // The longest: one may be part of another.
            let secret = self.secrets.iter().map(|secret| beginning(rest, secret)).max().unwrap_or_default();
            let step = if secret > 0 { secret } else { first.len_utf8() };
            shown.push_str(if secret > 0 { BLACK } else { &rest[..step] });
            rest = &rest[step..];
        }
        shown
    }

    /// The same failure, told without secrets.
    pub(super) fn tell(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Retry { reason, after } => Failure::Retry { reason: self.clean(&reason), after },
            Failure::Pause { reason } => Failure::Pause { reason: self.clean(&reason) },
            Failure::Reject { reason } => Failure::Reject { reason: self.clean(&reason) },
        }
    }
}

impl fmt::Debug for Censor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Censor").finish_non_exhaustive()
    }
}

/// How a secret may stand in an answer.
fn written(secret: &str) -> [String; 9] {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.trim_matches('"').to_owned();
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let percent = |upper: bool| -> String {
        let encode = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        };
        secret.bytes().map(encode).collect()
    };
    [
        secret.to_owned(),
        secret.trim().to_owned(),
        secret.split_whitespace().collect::<Vec<_>>().join(" "),
        json.replace('/', "\\/"),
        json,
        html.replace('"', "&quot;").replace('\'', "&#39;"),
        percent(true),
        percent(false),
        STANDARD.encode(secret),
    ]
}

/// How many bytes of `text` are the beginning of `secret`: all of it, much of it, or what is there before it was cut off.
fn beginning(text: &str, secret: &str) -> usize {
    let same = text.chars().zip(secret.chars()).take_while(|(one, other)| one == other);
    let (count, bytes) = same.fold((0, 0), |(count, bytes), (c, _)| (count + 1, bytes + c.len_utf8()));
    let known = bytes == secret.len() || count >= BEGINNING || text[bytes..].starts_with(CUT);
    if known { bytes } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::excerpt::excerpt;

    fn shown(secrets: &[&str], text: &str) -> String {
        Censor::of(secrets.iter().map(|secret| (*secret).to_owned())).clean(&excerpt(text))
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
}
