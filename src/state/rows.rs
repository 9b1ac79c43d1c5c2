//! Statements for many rows at once: a hop to the thread of the database costs more than a row.
//!
//! Must not know any table.

use std::sync::OnceLock;

/// Rows of one statement; what is left over goes in smaller ones. A few sizes only, so that each is prepared once.
const ROWS: [usize; 4] = [256, 64, 8, 1];

/// One statement in all sizes, written when it is first needed.
pub(super) struct Statements {
    of: fn(usize) -> String,
    texts: OnceLock<[String; ROWS.len()]>,
}

impl Statements {
    /// Of what `of` writes for a number of rows.
    pub(super) const fn new(of: fn(usize) -> String) -> Self {
        Self { of, texts: OnceLock::new() }
    }

    /// Cuts `all` into pieces, each with the statement for so many.
    pub(super) fn pieces<'a, T>(&'static self, mut all: &'a [T]) -> impl Iterator<Item = (&'static str, &'a [T])> {
        let texts = self.texts.get_or_init(|| ROWS.map(self.of));
        std::iter::from_fn(move || {
            let size = ROWS.iter().position(|rows| *rows <= all.len())?;
            let (piece, rest) = all.split_at(ROWS[size]);
            all = rest;
            Some((texts[size].as_str(), piece))
        })
    }
}

/// Places for the values of `rows` rows of so many columns.
pub(super) fn values(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row; rows].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_go_in_their_order_with_a_statement_for_as_many() {
        static STATEMENTS: Statements = Statements::new(|rows| values(2, rows));
        for count in [0, 1, 7, 8, 9, 255, 256, 900] {
            let all: Vec<usize> = (0..count).collect();
            let pieces: Vec<_> = STATEMENTS.pieces(&all).collect();
            assert!(pieces.iter().all(|(text, piece)| text.matches("(?, ?)").count() == piece.len()));
            assert_eq!(pieces.iter().flat_map(|(_, piece)| *piece).copied().collect::<Vec<_>>(), all);
        }
    }
}
