//! Faults that outsiders found, one test each; its name begins with the fault's number. Those that need no daemon stand
//! beside the code they hold to its promise, under the same numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "regressions/addresses.rs"]
mod addresses;
#[path = "regressions/agreement.rs"]
mod agreement;
#[path = "regressions/coverage.rs"]
mod coverage;
#[path = "regressions/delivery.rs"]
mod delivery;
#[path = "regressions/everywhere.rs"]
mod everywhere;
#[path = "regressions/login.rs"]
mod login;
#[path = "regressions/neighbours.rs"]
mod neighbours;
#[path = "regressions/operator.rs"]
mod operator;
#[path = "regressions/peers.rs"]
mod peers;
#[path = "regressions/places.rs"]
mod places;
#[path = "regressions/rules.rs"]
mod rules;
#[path = "regressions/shown.rs"]
mod shown;
#[path = "regressions/sinks.rs"]
mod sinks;
#[path = "regressions/stanzas.rs"]
mod stanzas;
#[path = "regressions/told.rs"]
mod told;
