//! The contestant `client`: `tokio_xmpp::Client` as its documentation shows it, one task per account.

use std::sync::Arc;

use futures::StreamExt;
use onsip_router::simulator::Account;
use tokio_xmpp::connect::{DnsConfig, StartTlsServerConnector, TcpServerConnector};
use tokio_xmpp::jid::Jid;
use tokio_xmpp::xmlstream::Timeouts;
use tokio_xmpp::{Client, Event};

use super::peer::{Errand, Orders};
use super::tally::Tally;

pub async fn session(account: Account, orders: Arc<Orders>, tally: Arc<Tally>) {
    let mut login = Some(tally.logins.acquire().await.unwrap());
    let jid: Jid = account.jid.to_string().parse().unwrap();
    let (dns, password) = (DnsConfig::Addr { addr: orders.address.clone() }, account.password.clone());
    let mut client = if orders.starttls {
        Client::new_with_connector(jid, password, StartTlsServerConnector::from(dns), Timeouts::default())
    } else {
        Client::new_with_connector(jid, password, TcpServerConnector::from(dns), Timeouts::default())
    };
    let mut errand = Errand::new(account, &orders, tally.clone());
    while let Some(event) = client.next().await {
        match event {
            Event::Online { bound_jid, .. } => {
                for stanza in errand.begin(bound_jid.try_into_full().unwrap()) {
                    client.send_stanza(stanza).await.unwrap();
                }
            }
            Event::Disconnected(error) => panic!("disconnected: {error}"),
            Event::Stanza(stanza) => {
                if let Some(answer) = errand.take(stanza) {
                    client.send_stanza(answer).await.unwrap();
                }
            }
        }
        if errand.is_done() {
            drop(login.take());
        }
    }
}
