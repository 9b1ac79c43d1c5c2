//! The bounds on what comes from outside: each in one place, with its reason.
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`ADDRESSES`] | 16 | a connection is tried at each; a name of a hostile domain may have thousands | the rest are not tried |
//! | [`SRV_TARGETS`] | 8 | each is looked up, for each account of the domain | those of lower priority are not tried |

// ---- connections ----

/// Addresses of one name, or of the SRV targets of one priority, at which a connection is tried.
pub const ADDRESSES: usize = 16;
/// Targets of one SRV look-up that are used.
pub const SRV_TARGETS: usize = 8;
