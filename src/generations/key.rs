//! The keys by which something is looked up, and their bytes in a record.

pub use crate::domain::fingerprint::{Fingerprint, Key, ShortFingerprint};

/// Bytes of a key.
pub(super) const KEY: usize = Key::BYTES;
