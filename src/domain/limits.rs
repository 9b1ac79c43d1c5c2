//! The table of limits: how much of anything that comes from outside is taken, and why.
//!
//! | limit | value | why | beyond it |
//! |---|---|---|---|
//! | [`CONFIGURATION_FILE`] | 16 MiB | 10,000 accounts take 3 MiB | the file is a problem of the configuration |
//! | [`SECRET_FILE`] | 64 KiB | the longest secret is a credentials file of 2 KiB | the key is a problem of the configuration |
//! | [`LOG_BUFFER`] | 1 MiB | about 4,000 lines: seconds of a busy router at level debug | lines are dropped, `log_lines_dropped_total` |
//! | [`LOG_HELD`] | 4 MiB | a held line of each account of a large fleet | the line is written at once |
//! | [`LOG_SUBJECTS`] | 65,536 | a few things per account of a large fleet | the others of one place in the code count as one |
//! | [`LOG_FOREIGN_SUBJECTS`] | 64 | more than a healthy library says in ten seconds | all other lines of that library count as one |
//! | [`HTTP_CONNECTIONS`] | 256 | scrapers, browsers and scripts of a large installation | who was silent longest is closed, `http_connections_evicted_total` |
//! | [`HTTP_STALL`] | 20 s | any network takes some bytes of an answer in that time | the connection is closed, `http_connections_evicted_total` |

use std::time::Duration;

// ---- what the operator hands over ----

/// Bytes of a file that configures something: settings, certificates, faults, an event to check.
pub const CONFIGURATION_FILE: u64 = 16 << 20;

/// Bytes of a file that holds one secret.
pub const SECRET_FILE: u64 = 64 << 10;

// ---- the log ----

/// Bytes of log lines that wait for standard error to take them; as many again may be with the writer.
pub const LOG_BUFFER: usize = 1 << 20;

/// Bytes of log lines that are held back as repeats.
pub const LOG_HELD: usize = 4 << 20;

/// Things whose log lines are told apart when repeats are held back.
pub const LOG_SUBJECTS: usize = 1 << 16;

/// Messages of libraries that are told apart when repeats are held back. A peer may have a say in their text.
pub const LOG_FOREIGN_SUBJECTS: usize = 64;

// ---- the HTTP port ----

/// Connections to the HTTP port at once.
pub const HTTP_CONNECTIONS: usize = 256;

/// Connections to the HTTP port at once where few open files are allowed.
pub const HTTP_CONNECTIONS_LEAST: usize = 8;

/// How long the head of a request may take.
pub const HTTP_HEAD: Duration = Duration::from_secs(10);

/// How long an answer may wait for its reader to take any of it.
pub const HTTP_STALL: Duration = Duration::from_secs(20);
