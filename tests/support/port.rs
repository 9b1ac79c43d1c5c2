//! Ports of this machine that stay what a test takes them for, whatever other tests do at the same time.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as Name, UnixListener};
use std::sync::Mutex;

use tokio::net::TcpSocket;

/// Below those that the system gives to connections and to listeners that want any port.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// What keeps others from taking our ports, until this process ends.
static HELD: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// An address for a server that another process starts, perhaps more than once.
pub fn free() -> SocketAddr {
    let start = std::process::id();
    let mut ports = (0..COUNT).filter_map(|n| u16::try_from(FIRST + start.wrapping_add(n) % COUNT).ok());
    ports.find_map(take).expect("a free port")
}

fn take(port: u16) -> Option<SocketAddr> {
    let name = Name::from_abstract_name(format!("onsip-router-test-port-{port}")).ok()?;
    let held = UnixListener::bind_addr(&name).ok()?; // only one process can have the name
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).ok()?;
    HELD.lock().unwrap().push(held);
    Some(address)
}

/// An address at which connections are refused as long as the first part lives: it is taken, and nobody listens.
pub fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}
