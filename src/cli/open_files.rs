//! The limit of open files: every connection needs one.
//!
//! Must not know what the connections are for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files a process has open besides its connections: the database, sinks, listeners, visitors of the status page.
const BESIDES: u64 = 200;

/// Raises the limit as far as `connections` need it and the system allows; says so where that is not far enough.
pub fn make_room(connections: usize) {
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(BESIDES);
    let Some(raised) = raised(getrlimit(Resource::Nofile), needed) else { return };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => getrlimit(Resource::Nofile).current,
    };
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "too few open files are allowed, some accounts will not connect: raise the hard limit (LimitNOFILE=, ulimit -Hn)"
        );
    }
}

/// The limit to set, if the one there is does not do.
fn raised(limit: Rlimit, needed: u64) -> Option<Rlimit> {
    limit.current.is_some_and(|current| current < needed).then_some(Rlimit { current: limit.maximum, ..limit })
}

#[cfg(test)]
mod tests {
    use super::*;

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
