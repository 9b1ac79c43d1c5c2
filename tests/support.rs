//! What the integration tests share: the built daemon as a process, its metrics, an HTTP client, an XMPP client, and
//! waiting for conditions. Must not know any particular server.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test crate uses its own part of this, and a failure here is a failed test"
)]

pub mod condition;
pub mod daemon;
pub mod disk;
pub mod folder;
pub mod http;
pub mod metrics;
pub mod port;
pub mod program;
pub mod receiver;
pub mod schema;
pub mod seed;
pub mod stage;
pub mod xmpp;
