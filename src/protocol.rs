//! The protocol core: what to say to the service, and what its answers mean.
//!
//! Pure: no async, no clock, no IO, no logs and no metrics. Every input carries `now`; every output is a command to
//! carry out or a transition to report. Must not know actors, sockets, the store or the configuration.

pub mod account;
pub mod acknowledgement;
pub mod admission;
pub mod authorization;
pub mod backoff;
pub mod clock;
pub mod coverage;
pub mod hearing;
pub mod legs;
pub mod link;
pub mod logins;
pub mod notification;
pub mod requests;
pub mod resync;
pub mod stanza;
pub mod subscription;
pub mod surplus;
