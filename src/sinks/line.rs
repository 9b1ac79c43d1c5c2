//! Events as whole lines, and how many of them a cut-off write has brought home.
//!
//! Must not know where the lines go.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};

use super::{Batch, Failure, Parcel};
use crate::domain::printable;

/// A batch of events, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// The lines, each with its line break.
    pub(super) text: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Lines {
    /// One line for each of `parcels`, with what could steer a terminal escaped.
    pub(super) fn of(parcels: &[Parcel]) -> Self {
        Self::shown(parcels, printable::in_pipe)
    }

    /// The same for a terminal: what deceives the eye is escaped, too.
    pub(super) fn on_terminal(parcels: &[Parcel]) -> Self {
        Self::shown(parcels, printable::on_terminal)
    }

    fn shown(parcels: &[Parcel], printable: impl Fn(&str) -> Cow<'_, str>) -> Self {
        let mut lines = Self::default();
        for parcel in parcels {
            lines.text.extend_from_slice(printable(&parcel.body).as_bytes());
            lines.text.push(b'\n');
            lines.ends.push(lines.text.len());
        }
        lines
    }

    /// How many lines the first `bytes` hold whole.
    pub(super) fn whole(&self, bytes: usize) -> usize {
        self.ends.partition_point(|end| *end <= bytes)
    }

    /// How many bytes the first `count` lines are.
    pub(super) fn bytes(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.ends[last])
    }
}

/// Writes `text` in as few writes as `out` allows. Says how many bytes it took, also where it failed.
pub(super) fn write(out: &mut impl Write, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < text.len() {
        match out.write(&text[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(taken) => written += taken,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, out.flush())
}

/// Answers for a batch of which the first `whole` lines arrived; the rest may later.
pub(super) fn answer(batch: &Batch, whole: usize, reason: &str) {
    batch.answer_together(0..whole, &Ok(()));
    batch.fail(Failure::Retry { reason: reason.to_owned(), after: None });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c11_no_line_steers_a_terminal_and_each_is_still_the_same_event() {
        let body = serde_json::json!({ "from_display": "\u{9b}2J\u{7f}\u{202e}" });
        let parcel = Parcel { id: "i".into(), partition: "p".into(), body: body.to_string().into() };
        let text = |lines: Lines| String::from_utf8(lines.text).unwrap();
        let (piped, shown) = (text(Lines::of(std::slice::from_ref(&parcel))), text(Lines::on_terminal(&[parcel])));
        assert_eq!(piped, "{\"from_display\":\"\\u009b2J\\u007f\u{202e}\"}\n");
        assert_eq!(shown, "{\"from_display\":\"\\u009b2J\\u007f\\u202e\"}\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), body);
    }

    #[test]
    fn a_line_counts_once_its_line_break_is_there() {
        let parcel = |body: &str| Parcel { id: "i".into(), partition: "p".into(), body: body.into() };
        let lines = Lines::of(&[parcel("ab"), parcel(""), parcel("c")]);
        assert_eq!(lines.text, b"ab\n\nc\n");
        assert_eq!([0, 2, 3, 4, 5, 6].map(|bytes| lines.whole(bytes)), [0, 0, 1, 2, 2, 3]);
        assert_eq!([0, 1, 2, 3].map(|count| lines.bytes(count)), [0, 3, 4, 6]);
    }
}
