//! A table as plain text: aligned columns, one line per row, as readable in a pipe as on a screen.
//!
//! Must not know what stands in it, nor trust it.

use std::fmt;

use jiff::Timestamp;

use crate::domain::printable::is_hidden;

/// What stands where there is nothing.
const NOTHING: &str = "-";
const GAP: usize = 2;

/// A table under construction.
#[derive(Clone, Debug)]
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these headings and no rows.
    #[must_use]
    pub fn new(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned)] }
    }

    /// Adds a row. An empty cell becomes a dash, so that every row has all its columns.
    pub fn add(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| if cell.is_empty() { NOTHING.to_owned() } else { harmless(&cell) }));
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: [usize; N] = std::array::from_fn(width);
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + GAP - cell.chars().count()));
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

/// A text as one line that cannot steer a terminal: what a peer wrote stands in it.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// A time as people read it: UTC, whole seconds.
#[must_use]
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_in_a_blank() {
        let mut table = Table::new(["ACCOUNT", "STATE", "NOTE"]);
        table.add(["a".into(), "subscribed".into(), "own".into()]);
        table.add(["front-desk".into(), String::new(), "µ is one wide".into()]);
        table.add(["b".into(), "x".into(), String::new()]);
        let expected = "\
ACCOUNT     STATE       NOTE
a           subscribed  own
front-desk  -           µ is one wide
b           x           -";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn without_rows_only_the_headings_stand() {
        assert_eq!(Table::new(["A", "B"]).to_string(), "A  B");
    }

    #[test]
    fn a_peer_can_neither_break_a_line_nor_steer_the_terminal() {
        let mut table = Table::new(["JID"]);
        table.add(["a@b/\u{1b}[2J\n\rx\u{202e}".into()]);
        let text = table.to_string();
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
    }

    #[test]
    fn a_time_is_utc_in_whole_seconds() {
        assert_eq!(time("2026-11-22T15:14:09.284310Z".parse().unwrap()), "2026-11-22T15:14:09Z");
    }
}
