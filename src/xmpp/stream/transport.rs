//! The transport below a stream, plain or encrypted, and the buffer that all streams of a thread read with.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Bytes read at once at most: as much as one TLS record holds.
const MOST_AT_ONCE: usize = 16 * 1024;

thread_local! {
    /// A stream keeps none of its own: thousands are idle, and one is read at a time.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; MOST_AT_ONCE].into());
}

/// A connection to the server.
#[derive(Debug)]
pub(in crate::xmpp) enum Transport {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Reads once, up to `most` bytes, and shows what was read to `look`: nothing at the end of the connection.
    pub(super) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        BUFFER.with_borrow_mut(|buffer| {
            let most = most.min(buffer.len());
            let mut buffer = ReadBuf::new(&mut buffer[..most]);
            let read = match self {
                Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
                Self::Tls(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
            };
            read.map_ok(|()| look(buffer.filled()))
        })
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Ends the sending; reading goes on.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
