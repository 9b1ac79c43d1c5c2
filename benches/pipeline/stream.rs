//! The contestant `stream`: the layer below `Client`, a loop over `XmppStream`, one task per account.

use std::borrow::Cow;
use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use onsip_router::simulator::Account;
use sasl::common::Credentials;
use tokio_xmpp::Stanza;
use tokio_xmpp::connect::{DnsConfig, ServerConnector, StartTlsServerConnector, TcpServerConnector};
use tokio_xmpp::jid::Jid;
use tokio_xmpp::parsers::bind::{BindQuery, BindResponse};
use tokio_xmpp::parsers::iq::Iq;
use tokio_xmpp::parsers::ns;
use tokio_xmpp::xmlstream::{FallibleStreamElement, ReadError, StreamHeader, Timeouts, XmppStream, XmppStreamElement};

use super::peer::{Errand, Orders};
use super::tally::Tally;

pub async fn session(account: Account, orders: Arc<Orders>, tally: Arc<Tally>) {
    let dns = DnsConfig::Addr { addr: orders.address.clone() };
    if orders.starttls {
        converse(StartTlsServerConnector::from(dns), account, &orders, tally).await;
    } else {
        converse(TcpServerConnector::from(dns), account, &orders, tally).await;
    }
}

async fn converse<C: ServerConnector>(connector: C, account: Account, orders: &Orders, tally: Arc<Tally>) {
    let mut login = Some(tally.logins.acquire().await.unwrap());
    let mut stream = log_in(connector, &account).await;
    stream.send(&Stanza::Iq(Iq::from_set("bind", BindQuery::new(None)))).await.unwrap();
    let mut errand = Errand::new(account, orders, tally.clone());
    loop {
        let stanza = match stream.next().await.unwrap().and_then(FallibleStreamElement::into_read_error) {
            Ok(XmppStreamElement::Stanza(stanza)) => stanza,
            Err(ReadError::SoftTimeout) => continue,
            other => panic!("the stream ended: {other:?}"),
        };
        let answers = match stanza {
            Stanza::Iq(Iq::Result { id, payload: Some(payload), .. }) if id == "bind" => {
                errand.begin(BindResponse::try_from(payload).unwrap().jid)
            }
            stanza => errand.take(stanza).into_iter().collect(),
        };
        for answer in answers {
            stream.send(&answer).await.unwrap();
        }
        if errand.is_done() {
            drop(login.take());
        }
    }
}

async fn log_in<C: ServerConnector>(connector: C, account: &Account) -> XmppStream<C::Stream> {
    let jid: Jid = account.jid.to_string().parse().unwrap();
    let (pending, binding) = connector.connect(&jid, ns::JABBER_CLIENT, Timeouts::default()).await.unwrap();
    let (features, stream) = pending.recv_features::<FallibleStreamElement>().await.unwrap();
    let credentials = Credentials::default()
        .with_username(jid.node().unwrap().as_str())
        .with_password(&account.password)
        .with_channel_binding(binding);
    let stream = tokio_xmpp::client_login(stream, features.sasl_mechanisms, credentials).await.unwrap();
    let header = StreamHeader { to: Some(Cow::Borrowed(jid.domain().as_str())), from: None, id: None };
    let (_, stream) = stream.send_header(header).await.unwrap().recv_features().await.unwrap();
    stream
}
