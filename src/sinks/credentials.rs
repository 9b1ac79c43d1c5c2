//! The keys `username` and `password`. Must not know any protocol.

use crate::domain::secret::Secret;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;

/// Reads both, of which each needs the other.
pub(super) fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<(String, Secret)> {
    let password = section.secret("password", path, problems);
    for (one, other) in [("username", "password"), ("password", "username")] {
        if section.has(one) && !section.has(other) {
            problems.add(path.join(other), format_args!("is missing; `{one}` needs it"));
        }
    }
    section.get("username").zip(password)
}
