//! The limit of open files: every connection needs one.
//!
//! Must not know what the connections are for.

use std::fs::File;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::domain::limits::HTTP_CONNECTIONS_LEAST;
use crate::http;

/// Files a process should have room for besides those of its accounts: the database, sinks, listeners, visitors of the page.
const BESIDES: u64 = 200;

/// Files the process itself has open where it makes do with little: runtimes, the database, listeners, watches.
const OWN: u64 = 48;

/// Files of one sink.
const SINK: u64 = 2;

/// Makes sure that so many files as the process needs at least can be opened: what it is built of cannot say that one is
/// missing, and would panic.
///
/// # Errors
/// If they cannot, with what to do.
pub fn enough() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if let Some(raised) = raised(limit, OWN + BESIDES) {
        // Where that is refused, the files are tried all the same.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let least = OWN + HTTP_CONNECTIONS_LEAST as u64;
    let files: Result<Vec<_>, _> = (0..least).map(|_| File::open("/dev/null")).collect();
    files.map(drop).with_context(|| {
        let allowed = getrlimit(Resource::Nofile).current.map_or("no limit".to_owned(), |limit| limit.to_string());
        format!(
            "cannot open the {least} files that are needed at least: {allowed} may be open, and some are already; raise \
             the limit (LimitNOFILE=, ulimit -n)"
        )
    })
}

/// Raises the limit as far as `accounts` need it and the system allows. Says how many accounts can run under it, and why not
/// all: HTTP, the store and the sinks keep their files, so that what the others do is still seen and kept.
pub fn make_room(accounts: usize, sinks: usize) -> usize {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let needed = count(accounts).saturating_add(BESIDES);
    let limit = getrlimit(Resource::Nofile);
    let allowed = match raised(limit, needed) {
        None => return accounts,
        Some(raised) if setrlimit(Resource::Nofile, raised).is_ok() => raised.current,
        Some(_) => limit.current,
    };
    let Some(allowed) = allowed.filter(|allowed| *allowed < needed) else { return accounts };
    let room = accounts.min(usize::try_from(room(allowed, count(sinks))).unwrap_or(usize::MAX));
    tracing::warn!(
        allowed,
        needed,
        "too few open files are allowed: {room} of {accounts} accounts run, the first by name; raise the hard limit (LimitNOFILE=, ulimit -Hn)"
    );
    room
}

/// How many accounts so many open files allow: one at least.
fn room(allowed: u64, sinks: u64) -> u64 {
    let http = u64::try_from(http::connections(Some(allowed))).unwrap_or(u64::MAX);
    allowed.saturating_sub(OWN + http + sinks.saturating_mul(SINK)).max(1)
}

/// The limit to set, if the one there is does not do.
fn raised(limit: Rlimit, needed: u64) -> Option<Rlimit> {
    limit.current.is_some_and(|current| current < needed).then_some(Rlimit { current: limit.maximum, ..limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c14_health_the_store_and_the_sinks_keep_their_files() {
        assert_eq!(room(64, 1), 6);
        assert_eq!(room(64, 100), 1);
        assert_eq!(room(1024, 3), 1024 - 48 - 128 - 6);
    }

    #[test]
    fn a_limit_that_does_is_left_alone() {
        for current in [Some(1024), None] {
            assert_eq!(raised(Rlimit { current, maximum: Some(4096) }, 1024), None);
        }
    }

    #[test]
    fn a_limit_that_is_too_low_is_raised_to_the_hard_one_also_where_that_is_too_low() {
        for maximum in [Some(600), Some(4096), None] {
            let raised = raised(Rlimit { current: Some(512), maximum }, 1024).unwrap();
            assert_eq!((raised.current, raised.maximum), (maximum, maximum));
        }
    }
}
