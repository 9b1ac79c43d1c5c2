//! The messages of a `PostgreSQL` server, as far as their length: the client library makes room for a message before it
//! comes, for up to 2 GiB if the server says so. Must not know what a message says.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::domain::limits::PEER_UNASKED;

/// Bytes of the kind of a message and its length.
const HEADER: usize = 5;
/// Bytes of the length, which counts itself.
const LENGTH: usize = 4;

/// A stream on which no message is longer than a peer may make it.
#[derive(Debug)]
pub(super) struct Framed<S> {
    stream: S,
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    begun: usize,
    /// Bytes of the message that are still to come.
    rest: usize,
}

impl<S> Framed<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, header: [0; HEADER], begun: 0, rest: 0 }
    }

    /// Follows the messages in what has come.
    ///
    /// # Errors
    /// If one of them is too long.
    fn look(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let passed = self.rest.min(bytes.len());
                self.rest -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let taken = (HEADER - self.begun).min(bytes.len());
            self.header[self.begun..self.begun + taken].copy_from_slice(&bytes[..taken]);
            self.begun += taken;
            bytes = &bytes[taken..];
            if self.begun == HEADER {
                self.begun = 0;
                let [kind, length @ ..] = self.header;
                let length = u32::from_be_bytes(length);
                if u64::from(length) > PEER_UNASKED {
                    let kind = char::from(kind).escape_default();
                    let reason =
                        format!("the server begins a message of {length} bytes (type {kind}), which is too long");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
                self.rest = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(LENGTH);
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        Poll::Ready(this.look(&buf.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows `bytes` that come in pieces of `size`.
    fn followed(bytes: &[u8], size: usize) -> io::Result<()> {
        let mut framed = Framed::new(());
        bytes.chunks(size).try_for_each(|piece| framed.look(piece))
    }

    #[test]
    fn c2_a_message_is_too_long_by_its_header_wherever_it_is_cut() {
        let message = |kind: u8, length: u32| [&[kind][..], &length.to_be_bytes()].concat();
        let honest = [message(b'R', 8), vec![0, 0, 0, 0], message(b'Z', 5), vec![b'I'], message(b'1', 4)].concat();
        for size in 1..20 {
            followed(&honest, size).unwrap();
            // A long message whose content looks like the header of another one is none.
            let text = [message(b'D', 4 + 5), message(b'E', u32::MAX), honest.clone()].concat();
            followed(&text, size).unwrap();
            for length in [1_048_577, 2_147_483_647, u32::MAX] {
                let fault = followed(&[honest.clone(), message(b'E', length)].concat(), size).unwrap_err();
                assert!(fault.to_string().contains(&format!("{length} bytes (type E)")), "{fault}");
            }
        }
    }
}
