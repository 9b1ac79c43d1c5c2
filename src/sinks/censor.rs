//! Keeps what we sent in secret out of what peers say: servers like to repeat it, in their own way of writing.
//!
//! A text is looked at as it stands, and with its escapes undone again and again; in each of these views every run of
//! characters that a secret has, or what it looks like in base64 or hex, is blacked out where it stands in the text. Every
//! answer of every sink passes here. Must not know who says what.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::Failure;
use super::excerpt::CUT;
use folding::{Fold, is_filler};
use view::View;

mod folding;
mod view;

/// Stands where a secret stood.
const BLACK: &str = "[secret]";
/// A shorter text is no secret, and would black out half of every answer.
const SHORTEST: usize = 4;
/// The same in base64 or hex: less may be the midst of a word.
const SHORTEST_ENCODED: usize = 6;
/// So many characters of a secret in a row are recognized wherever they stand: peers cut off what is long.
const RUN: usize = 8;
/// The same in base64, and in hex.
const ENCODED_RUNS: [usize; 2] = [11, 16];
/// So many characters of a secret in base64 or hex are recognized before the place where a text was cut off.
const ENCODED_BEGINNING: usize = 4;
/// How often escapes are undone: three for a peer that writes JSON in JSON in HTML, and as many for what looks like an escape in
/// the secret itself.
const DEPTH: usize = 6;

/// Knows what nobody may read. Its clones share that: every batch has one.
#[derive(Clone, Default)]
pub(super) struct Censor {
    known: Arc<Known>,
}

/// The secrets, in the forms in which they are recognized.
#[derive(Default)]
struct Known {
    /// Runs of characters, by fold and length: of each secret all that are [`RUN`] long, or the whole of a shorter one.
    runs: HashMap<(Fold, usize), HashSet<Box<[char]>>>,
    /// The end of a text that was cut off is recognized by the beginning of these.
    forms: Vec<Form>,
}

/// One way in which a secret may be written.
struct Form {
    fold: Fold,
    text: Box<[char]>,
    /// So many characters of it tell that it is the secret.
    least: usize,
}

impl Censor {
    /// Knows `secrets`, in whatever way peers write them.
    pub(super) fn of(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut known = Known::default();
        for secret in secrets.into_iter().filter(|secret| secret.trim().len() >= SHORTEST) {
            // What looks like an escape in the secret itself is undone together with those of the peer.
            for view in views(secret.trim()) {
                known.learn(view.chars(), RUN, 1);
            }
            for form in base64(secret.as_bytes()).into_iter().chain(base64(secret.trim().as_bytes())) {
                known.learn(form.chars(), ENCODED_RUNS[0], ENCODED_BEGINNING);
            }
            let digits =
                |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
            known.learn(secret.trim().bytes().flat_map(digits), ENCODED_RUNS[1], ENCODED_BEGINNING);
        }
        Self { known: known.into() }
    }

    /// Returns `text` without the secrets in it.
    pub(super) fn clean(&self, text: &str) -> String {
        if self.known.runs.is_empty() {
            return text.to_owned();
        }
        let mut black = vec![false; text.len()];
        for view in views(text) {
            for fold in Fold::ALL {
                for (first, last) in self.known.found(&view, fold) {
                    black[view.source(first).start..view.source(last).end].fill(true);
                }
            }
        }
        let mut shown = String::with_capacity(text.len());
        let mut blacked = false;
        for (at, c) in text.char_indices() {
            if !black[at] {
                shown.push(c);
            } else if !blacked {
                shown.push_str(BLACK);
            }
            blacked = black[at];
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

impl Known {
    fn learn(&mut self, form: impl Iterator<Item = char>, run: usize, least: usize) {
        let form: Vec<char> = form.collect();
        for fold in Fold::ALL {
            let text: Box<[char]> = form.iter().filter_map(|c| fold.of(*c)).collect();
            // What is nothing but filler is known only as it stands.
            let enough = if fold == Fold::Loose { RUN.min(form.len()) } else { SHORTEST };
            let shortest = if run == RUN { SHORTEST } else { SHORTEST_ENCODED };
            if text.len() < enough.max(shortest) {
                continue;
            }
            let length = run.min(text.len());
            let runs = self.runs.entry((fold, length)).or_default();
            runs.extend(text.windows(length).map(Box::from));
            self.forms.push(Form { fold, text, least });
        }
    }

    /// The first and the last character of all that is secret in `view`.
    fn found(&self, view: &View, fold: Fold) -> Vec<(usize, usize)> {
        let folded = view.chars().enumerate().filter_map(|(at, c)| Some((fold.of(c)?, at)));
        let (text, places): (Vec<char>, Vec<usize>) = folded.unzip();
        let mut found = Vec::new();
        for ((_, length), runs) in self.runs.iter().filter(|((of, _), _)| *of == fold) {
            let windows = text.windows(*length).enumerate().filter(|(_, window)| runs.contains(*window));
            let encoded = ENCODED_RUNS.contains(length);
            found.extend(windows.map(|(at, _)| view.widened(places[at], places[at + length - 1], encoded)));
        }
        for cut in (0..text.len()).filter(|at| text[*at] == CUT) {
            let beginning = |form: &Form| {
                let most = form.text.len().min(cut);
                (form.least..=most).rev().find(|count| text[cut - count..cut] == form.text[..*count])
            };
            let known = self.forms.iter().filter(|form| form.fold == fold).filter_map(beginning).max();
            found.extend(known.map(|count| view.widened(places[cut - count], places[cut - 1], false)));
        }
        found
    }
}

impl fmt::Debug for Censor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Censor").finish_non_exhaustive()
    }
}

/// The text as it stands, and with its escapes undone once, twice and so on, while that changes anything.
fn views(text: &str) -> Vec<View> {
    let mut views = vec![View::of(text)];
    while views.len() <= DEPTH
        && let Some(further) = views.last().and_then(View::undone)
    {
        views.push(further);
    }
    views
}

/// Returns the part of `secret` in the base64 of anything that ends with it, such as `Bearer SECRET` or `user:SECRET`: that
/// depends on how many bytes are before it.
fn base64(secret: &[u8]) -> Vec<String> {
    let at = |before: usize| {
        let encoded = STANDARD_NO_PAD.encode([&vec![0; before], secret].concat());
        let from = (before * 8).div_ceil(6);
        let to = (before + secret.len()) * 8 / 6;
        encoded.get(from..to).unwrap_or_default().to_owned()
    };
    (0..3).map(at).collect()
}

#[cfg(test)]
mod tests;
