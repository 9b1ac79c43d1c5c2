//! A TCP stream that can be read to its end. Must not know the protocol.
//!
//! A broker that ends a connection says why before it closes it, and what we write meanwhile fails. The client library would
//! stop at the failure and never read the reason. So what can no longer be written is dropped: the end of what is read
//! comes right behind, and ends the connection.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The stream.
#[derive(Debug)]
pub(super) struct ReadToEnd<S>(pub(super) S);

/// `instead` where the peer has closed the stream.
fn unless_closed<T>(result: io::Result<T>, instead: T) -> io::Result<T> {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    match result {
        Err(fault) if matches!(fault.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected) => {
            Ok(instead)
        }
        result => result,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadToEnd<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadToEnd<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.0).poll_write(cx, buf));
        Poll::Ready(unless_closed(written, buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.0).poll_flush(cx));
        Poll::Ready(unless_closed(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn what_the_peer_said_last_is_read_though_it_reads_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = ReadToEnd(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.write_all(b"farewell").await.unwrap();
        drop(peer);
        // Writing fails as soon as the peer has answered that it is gone; nobody is told.
        for _ in 0..100 {
            stream.write_all(&[0; 1024]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut said = [0; 8];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"farewell");
        assert!(!matches!(stream.read(&mut said).await, Ok(1..)));
    }
}
