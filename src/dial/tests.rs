use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use super::*;

/// Longer than anything here takes, also on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A name that leads to 127.0.0.2, and then to 127.0.0.1.
pub(crate) const TWO_ADDRESSES: &str = "two.addresses.test";

/// An address at which the system throws away whoever wants to connect: its backlog is full.
pub(crate) struct Swallowing {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _filling: JoinSet<io::Result<TcpStream>>,
}

impl Swallowing {
    pub(crate) async fn at(ip: Ipv4Addr, port: u16) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((ip, port).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut filling = JoinSet::new();
        // It is full once one of them is left waiting.
        loop {
            filling.spawn(TcpStream::connect(address));
            filling.spawn(TcpStream::connect(address));
            if timeout(Duration::from_millis(200), filling.join_next()).await.is_err() {
                return Self { address, _listener: listener, _filling: filling };
            }
        }
    }
}

/// An address at which `word` is said to whoever connects.
pub(crate) async fn saying(ip: Ipv4Addr, port: u16, word: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((ip, port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(word.as_bytes()).await;
            open.push(tcp);
        }
    });
    address
}

fn loopback(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// An address at which nobody listens.
async fn refusing() -> SocketAddr {
    TcpListener::bind((loopback(9), 0)).await.unwrap().local_addr().unwrap()
}

/// What is said at the address that is taken in the end.
async fn heard(addresses: &[SocketAddr], patience: Duration) -> Result<u8, OpenError<&'static str>> {
    let listen = async |mut tcp: TcpStream| match tcp.read_u8().await.unwrap() {
        b'-' => Err(Fault::Here("not here")),
        b'!' => Err(Fault::Everywhere("nowhere")),
        said => Ok(said),
    };
    timeout(SOON, open(addresses, patience, listen)).await.expect("every address is tried")
}

#[tokio::test]
async fn b1_an_address_that_swallows_everything_costs_a_moment_and_the_next_one_is_taken() {
    let swallowing = Swallowing::at(loopback(2), 0).await;
    let good = saying(loopback(1), 0, "a").await;
    assert_eq!(heard(&[swallowing.address, good], SOON).await.unwrap(), b'a');
    assert_eq!(heard(&[swallowing.address, refusing().await, good], SOON).await.unwrap(), b'a');
}

#[tokio::test]
async fn b1_an_address_that_takes_connections_and_says_nothing_gets_a_share_of_the_time() {
    let (silent, good) = (saying(loopback(1), 0, "").await, saying(loopback(1), 0, "a").await);
    assert_eq!(heard(&[silent, good], Duration::from_secs(1)).await.unwrap(), b'a');
}

#[tokio::test]
async fn b1_an_address_that_says_no_is_left_for_the_next_one_unless_that_would_say_the_same() {
    let (useless, good) = (saying(loopback(1), 0, "-").await, saying(loopback(1), 0, "a").await);
    assert_eq!(heard(&[useless, good], SOON).await.unwrap(), b'a');
    assert!(matches!(heard(&[useless, refusing().await], SOON).await, Err(OpenError::Useless("not here"))));
    let over = saying(loopback(1), 0, "!").await;
    assert!(matches!(heard(&[over, good], SOON).await, Err(OpenError::Useless("nowhere"))));
}

#[tokio::test]
async fn where_nobody_listens_that_is_said_with_the_address() {
    let nobody = refusing().await;
    let fault = heard(&[nobody], SOON).await.unwrap_err().to_string();
    assert!(fault.contains(&nobody.to_string()) && fault.contains("refused"), "{fault}");
}

#[test]
fn families_take_turns() {
    let addresses = |texts: &[&str]| texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 1)).collect();
    let turns = |texts: &[&str]| -> Vec<String> {
        taking_turns(addresses(texts)).into_iter().map(|address| address.ip().to_string()).collect()
    };
    assert_eq!(turns(&["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"]), ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]);
    assert_eq!(turns(&["1.1.1.1", "::1"]), ["1.1.1.1", "::1"]);
    assert_eq!(turns(&[]), [""; 0]);
}

#[tokio::test]
async fn an_address_is_looked_up_as_itself() {
    assert_eq!(addresses("[::1]", 7).await.unwrap(), ["[::1]:7".parse().unwrap()]);
    assert_eq!(addresses("127.0.0.1", 7).await.unwrap(), ["127.0.0.1:7".parse().unwrap()]);
}
