//! TCP connections to named hosts: which addresses a name has, and at which of them the peer answers.
//!
//! * Every address of a name is tried. One that swallows all packets costs [`STAGGER`], and one that takes the connection
//!   and then stays silent costs a share of the time; neither eats all of it. Every connector relies on this.
//! * Who may be called is decided by address, after the look-up, and the connection goes to the very address that was
//!   looked at: see [`kind`].
//!
//! Must not know what is spoken on a connection.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use crate::domain::host;
use crate::domain::limits::ADDRESSES;

pub mod kind;

/// How long an address may stay silent before the next one is tried beside it (RFC 8305 section 5).
pub const STAGGER: Duration = Duration::from_millis(250);

/// Why a connection that was made is of no use.
#[derive(Debug)]
pub enum Fault<E> {
    /// At this address; another one may do better.
    Here(E),
    /// At every address: the peer has answered, and would say the same there.
    Everywhere(E),
}

/// Why there is no connection.
#[derive(Debug)]
pub enum OpenError<E> {
    /// Nobody answers at any of the addresses.
    Unreachable(io::Error),
    /// Somebody does, and this is what came of it.
    Useless(E),
}

impl<E: fmt::Display> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(fault) => fault.fmt(f),
            Self::Useless(fault) => fault.fmt(f),
        }
    }
}

/// Returns the addresses of `host`, as the system knows them (RFC 6724 order, families taking turns as of RFC 8305
/// section 4). `host` may be an address, and may hold U-labels.
///
/// # Errors
/// If the look-up fails, or there is none.
pub async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let name = host::ascii(host).unwrap_or_else(|| host.to_owned());
    #[cfg(test)]
    if name == tests::TWO_ADDRESSES {
        return Ok(vec![([127, 0, 0, 2], port).into(), ([127, 0, 0, 1], port).into()]);
    }
    let found = lookup_host((name.as_str(), port)).await?;
    let mut addresses = taking_turns(found.collect());
    addresses.truncate(ADDRESSES);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address")));
    }
    Ok(addresses)
}

/// Puts IPv4 and IPv6 addresses by turns, beginning with the family of the first.
fn taking_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(six_first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == six_first);
    let mut merged = Vec::with_capacity(first.len() + second.len());
    while !first.is_empty() || !second.is_empty() {
        merged.extend(first.pop_front());
        merged.extend(second.pop_front());
    }
    merged
}

/// Connects to one of `addresses` and has `begin` make something of the connection, within about `patience`. An address
/// at which that fails, or takes longer than its share of the time, is left for the next one. The last one may take as
/// long as the caller waits.
///
/// # Errors
/// Of the address at which it came furthest, the last one of several.
pub async fn open<T, E, F>(
    addresses: &[SocketAddr],
    patience: Duration,
    mut begin: impl FnMut(TcpStream) -> F,
) -> Result<T, OpenError<E>>
where
    F: Future<Output = Result<T, Fault<E>>>,
{
    let deadline = Instant::now() + patience;
    let mut open = addresses.to_vec();
    let mut last = None;
    loop {
        let tcp = match connect(&mut open).await {
            Ok(tcp) => tcp,
            Err(fault) => return Err(last.map_or(OpenError::Unreachable(fault), OpenError::Useless)),
        };
        let outcome = if open.is_empty() {
            begin(tcp).await
        } else {
            let shares = u32::try_from(open.len()).unwrap_or(u32::MAX).saturating_add(1);
            match timeout(deadline.saturating_duration_since(Instant::now()) / shares, begin(tcp)).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            }
        };
        match outcome {
            Ok(made) => return Ok(made),
            Err(Fault::Everywhere(fault)) => return Err(OpenError::Useless(fault)),
            Err(Fault::Here(fault)) => last = Some(fault),
        }
    }
}

/// Connects to the first of `open` that answers, and takes it from there, and with it those that refused.
async fn connect(open: &mut Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting: VecDeque<_> = open.iter().copied().collect();
    let mut trying = FuturesUnordered::new();
    let mut fault = io::Error::from(io::ErrorKind::TimedOut);
    loop {
        if let Some(address) = waiting.pop_front() {
            trying.push(async move { (address, TcpStream::connect(address).await) });
        }
        let outcome = tokio::select! {
            biased;
            outcome = trying.next() => outcome,
            () = sleep(STAGGER), if !waiting.is_empty() => continue,
        };
        let Some((address, outcome)) = outcome else { return Err(fault) };
        open.retain(|other| *other != address);
        match outcome {
            Ok(tcp) => {
                // A request or an answer is written whole: there is nothing to wait for.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Err(error) => fault = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
