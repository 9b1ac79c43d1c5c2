//! A way for a library that opens its connections by itself to one that was made already: a socket in a folder that nobody
//! else may enter, for one connection. Must not know what is said on it.

use std::io;

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::{JoinSet, spawn_blocking};

/// The way. Dropping it cuts the connection.
#[derive(Debug)]
pub(super) struct Bridge {
    /// Where the socket is, named as a server at that port would name it.
    pub(super) folder: TempDir,
    _copying: JoinSet<()>,
}

impl Bridge {
    /// Makes a way to `tcp`.
    ///
    /// # Errors
    /// If there is no folder for it.
    pub(super) async fn to(mut tcp: TcpStream, port: u16) -> io::Result<Self> {
        let folder = spawn_blocking(|| TempDir::with_prefix("onsip-router-")).await.map_err(io::Error::other)??;
        let listener = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{port}")))?;
        let mut copying = JoinSet::new();
        copying.spawn(async move {
            if let Ok((mut library, _)) = listener.accept().await {
                drop(listener);
                let _ = copy_bidirectional(&mut library, &mut tcp).await; // either side sees the end of the other
            }
        });
        Ok(Self { folder, _copying: copying })
    }
}
