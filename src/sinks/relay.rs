//! Bytes between a client library that opens its connections by itself and a stream that was made already: to the address
//! that was found, with what the stream has of its own, such as a [throttle](super::throttle) and TLS. Must not know any
//! protocol.

use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::task::JoinSet;

/// Anything that bytes are read from and written to.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// The relay. Dropping it cuts the connection.
#[derive(Debug)]
pub(super) struct Relay {
    fault: Arc<OnceLock<String>>,
    _copying: JoinSet<()>,
}

impl Relay {
    /// Begins to copy between `peer` and the library, once that has come.
    pub(super) fn new<L: Stream>(
        library: impl Future<Output = io::Result<L>> + Send + 'static,
        mut peer: impl Stream,
    ) -> Self {
        let fault = Arc::<OnceLock<String>>::default();
        let mut copying = JoinSet::new();
        let noted = Arc::clone(&fault);
        copying.spawn(async move {
            let Ok(mut library) = library.await else { return };
            // Either side sees the end of the other. What the peer sent and should not have is seen here alone.
            if let Err(fault) = copy_bidirectional(&mut library, &mut peer).await
                && fault.kind() == ErrorKind::InvalidData
            {
                let _ = noted.set(fault.to_string());
            }
        });
        Self { fault, _copying: copying }
    }

    /// Returns why the relay ended the connection, where it did: the library only sees the end.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.get().cloned()
    }
}
