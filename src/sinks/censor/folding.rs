//! Characters that count as the same: peers change the case, break lines, and write base64 in two alphabets.

use crate::domain::printable::is_hidden;

/// How much of a difference is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fold {
    /// All that is filler is left out: blanks, and what stands for them or is doubled in some spelling.
    Loose,
    /// Only blanks and what nobody sees are left out.
    Close,
}

impl Fold {
    pub(super) const ALL: [Self; 2] = [Self::Loose, Self::Close];

    /// The character that `c` counts as, if it counts.
    pub(super) fn of(self, c: char) -> Option<char> {
        if c.is_whitespace() || c.is_control() || is_hidden(c) || (self == Self::Loose && is_filler(c)) {
            return None;
        }
        match c {
            '_' => Some('/'),
            '-' => Some('+'),
            c => c.to_lowercase().next(),
        }
    }
}

/// The signs of base64 that one alphabet only has or that end it, the blank of forms, and the beginnings of escapes.
pub(super) const fn is_filler(c: char) -> bool {
    matches!(c, '+' | '-' | '=' | '\\')
}
