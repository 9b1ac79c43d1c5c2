//! Waiting for something to become true, within a bound.

use std::time::Duration;

use tokio::time::Instant;

/// How long to wait for what must come. It only says that something hangs: no promise about time is checked with it,
/// since a busy machine can hold up everything.
pub const SOON: Duration = Duration::from_secs(60);

const BETWEEN_PROBES: Duration = Duration::from_millis(25);

/// Asks `probe` until it answers with something.
///
/// # Errors
/// After `bound`, a text that says what was waited for.
pub async fn until<T>(what: &str, bound: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Result<T, String> {
    let deadline = Instant::now() + bound;
    loop {
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(BETWEEN_PROBES).await,
            Ok(None) | Err(_) => return Err(format!("waited {bound:?} in vain for {what}")),
        }
    }
}
