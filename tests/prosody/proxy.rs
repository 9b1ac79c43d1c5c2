//! A TCP proxy between the daemon and the server, which cuts connections without a word to either.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The proxy. Dropping it ends it and cuts everything.
pub struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<JoinSet<()>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Leads to `server`.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let open = Arc::new(Mutex::new(JoinSet::new()));
        let connections = Arc::clone(&open);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut open = connections.lock().expect("no panic under the lock");
                while open.try_join_next().is_some() {}
                open.spawn(lead(client, server));
            }
        });
        Self { address, open, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection there is; new ones are let through.
    pub fn cut(&self) {
        self.open.lock().expect("no panic under the lock").abort_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn lead(mut client: TcpStream, server: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(server).await {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
