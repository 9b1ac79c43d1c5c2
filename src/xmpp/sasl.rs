//! Carries out the log-in exchange that [`crate::protocol::sasl`] decides.
//!
//! Keys are computed on threads of their own, in pieces: no other account on this thread waits, and a log-in that is given
//! up costs one more piece at most.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::exchange::{receive, send};
use super::failure;
use super::login::Credential;
use super::stream::{Frame, Stream};
use crate::protocol::link::Failure;
use crate::protocol::sasl::{Derivation, Exchange, Mechanisms, Salted, Step};
use crate::protocol::stanza::{self, Features};

/// Rounds computed at once: a few milliseconds, and all there are with a usual server.
const ROUNDS_AT_ONCE: u32 = 16_384;

/// Turns at computing, for the whole process.
///
/// A server decides how long its keys take. The first piece of each key has turns of its own, so that the few keys that
/// need more never hold up the many that do not; those take one core together, piece by piece in turn.
struct Turns {
    first: Semaphore,
    later: Semaphore,
}

static TURNS: LazyLock<Turns> = LazyLock::new(|| {
    let cores = available_parallelism().map_or(1, usize::from);
    Turns { first: Semaphore::new(cores.saturating_sub(1).max(1)), later: Semaphore::new(1) }
});

/// Proves who we are with the best mechanism that is `offered` and allowed; the stream must then begin anew. Keeps in
/// `refused` which mechanisms the server offers and refuses, also where the log-in fails or is given up.
pub(super) async fn authenticate(
    stream: &mut Stream,
    offered: &Features,
    private: bool,
    credential: &Credential,
    refused: &mut Mechanisms,
) -> Result<(), Failure> {
    let user = credential.jid.node().map(|node| node.as_str().to_owned()).unwrap_or_default();
    let mut exchange = Exchange::new(&user, &credential.password, &offered.mechanisms, private, *refused)?;
    let mut step = Ok(Step::Begin);
    loop {
        *refused = exchange.refused();
        step = match step? {
            Step::Begin => exchange.begin(&format!("{:032x}", rand::random::<u128>())),
            Step::Send(element) => {
                send(stream, &element).await?;
                let Frame::Element(answer) = receive(stream).await? else { return Err(failure::not_xmpp()) };
                exchange.hear(stanza::challenge(&answer))
            }
            Step::Derive(derivation) => exchange.derived(&derive(derivation).await?),
            Step::Done => return Ok(()),
        };
    }
}

/// Computes a key.
async fn derive(mut derivation: Derivation) -> Result<Salted, Failure> {
    let mut turns = &TURNS.first;
    loop {
        // Nobody closes them; and a thread ends early only with its runtime.
        let turn = turns.acquire().await.map_err(|_| Failure::Timeout)?;
        let piece = spawn_blocking(move || {
            let salted = derivation.advance(ROUNDS_AT_ONCE);
            drop(turn);
            (derivation, salted)
        });
        let (rest, salted) = piece.await.map_err(|_| Failure::Timeout)?;
        if let Some(salted) = salted {
            return Ok(salted);
        }
        (derivation, turns) = (rest, &TURNS.later);
    }
}
