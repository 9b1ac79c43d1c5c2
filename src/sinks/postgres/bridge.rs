//! A way for the client library to a stream that was made already: a socket that nobody else may enter, for one connection.
//! Must not know what is said on it.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_blocking;

use super::super::relay::{Relay, Stream};

/// The way. Dropping it cuts the connection.
#[derive(Debug)]
pub(super) struct Bridge {
    path: PathBuf,
    pub(super) relay: Relay,
    _folder: Option<TempDir>,
}

impl Bridge {
    /// Makes a way to `stream`.
    ///
    /// # Errors
    /// If there is no place for it.
    pub(super) async fn to(stream: impl Stream, port: u16) -> io::Result<Self> {
        let folder = spawn_blocking(|| TempDir::with_prefix("onsip-router-")).await.map_err(io::Error::other)?;
        let (path, folder) = match folder {
            Ok(folder) => (folder.path().to_owned(), Some(folder)),
            // No folder can be written: then a name that is in no folder, where the system has such names.
            Err(_) => (PathBuf::from(format!("\0onsip-router-{:032x}", rand::random::<u128>())), None),
        };
        let listener = UnixListener::bind(path.join(format!(".s.PGSQL.{port}")))?;
        Ok(Self { path, relay: Relay::new(ourselves(listener), stream), _folder: folder })
    }

    /// Where the socket is, named as a server at that port would name it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The connection that this process makes: a name in no folder is there for others too.
async fn ourselves(listener: UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        if stream.peer_cred()?.pid().is_none_or(|pid| u32::try_from(pid) == Ok(std::process::id())) {
            return Ok(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_bridge_is_dropped() {
        let (near, mut far) = duplex(64);
        let bridge = Bridge::to(near, 5432).await.unwrap();
        let mut library = UnixStream::connect(bridge.path().join(".s.PGSQL.5432")).await.unwrap();
        library.write_all(b"ask").await.unwrap();
        let mut said = [0; 3];
        far.read_exact(&mut said).await.unwrap();
        far.write_all(b"say").await.unwrap();
        library.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"say");
        drop(bridge);
        assert_eq!(library.read(&mut said).await.unwrap(), 0);
    }
}
