//! The bounds on what comes from outside: each in one place, with its reason.
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`PEER_TEXT`] | 200 characters | enough to say what is wrong | the rest of the text is not shown |
//! | [`WEBHOOK_ANSWER`] | 64 KiB | more than any page of an error | the connection is closed, the status counts |
//! | [`WEBHOOK_ANSWER_TIME`] | 2 s | the status has said what there is to know | the connection is closed, the status counts |
//! | [`WEBHOOK_HEADERS`] | 500 | servers add a few dozen | the answer is none, the event is posted again |
//! | [`MQTT_PACKET`] | 64 KiB | acknowledgements are small | the connection is given up |

use std::time::Duration;

// ---- the peers of sinks ----

/// Characters of what a sink's peer says that are shown in logs, dead letters and on the page.
pub const PEER_TEXT: usize = 200;
/// Bytes of the body of a webhook's answer that are read, so that the connection can be used again.
pub const WEBHOOK_ANSWER: usize = 64 << 10;
/// How long the body of a webhook's answer is read.
pub const WEBHOOK_ANSWER_TIME: Duration = Duration::from_secs(2);
/// Header fields of a webhook's answer.
pub const WEBHOOK_HEADERS: usize = 500;
/// Bytes of a packet that an MQTT broker sends.
pub const MQTT_PACKET: u32 = 64 << 10;
