//! What of a foreign text may be shown: a little of it, on one line, without our secrets, which servers like to repeat.
//!
//! Must not know where the text comes from.

use crate::sinks::excerpt::excerpt;

/// Stands where a secret stood.
const BLACK: &str = "[secret]";

/// Knows what nobody may read.
pub(super) struct Censor {
    /// The longest first: one may be part of another.
    secrets: Vec<String>,
}

impl Censor {
    pub(super) fn of(secrets: impl Iterator<Item = String>) -> Self {
        let mut secrets: Vec<_> = secrets.filter(|secret| !secret.is_empty()).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// What may be shown of `text`.
    pub(super) fn excerpt(&self, text: &str) -> String {
        let censored = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), BLACK));
        excerpt(&censored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(secrets: &[&str], text: &str) -> String {
        Censor::of(secrets.iter().map(|secret| (*secret).to_owned())).excerpt(text)
    }

    #[test]
    fn a_secret_is_blacked_out_also_at_the_edge_and_within_another() {
        assert_eq!(excerpt(&["hunter2", "whsec_hunter2"], "key whsec_hunter2 or hunter2"), "key [secret] or [secret]");
        let edge = format!("{}hunter2", "x".repeat(197));
        assert_eq!(excerpt(&["hunter2"], &edge), format!("{}[se", "x".repeat(197)));
        assert_eq!(excerpt(&["two words"], "two words"), "[secret]");
        assert_eq!(excerpt(&[""], "text"), "text");
    }
}
