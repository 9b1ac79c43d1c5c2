//! The contestant `bytes`: logs in with fixed texts and then only counts bytes. Nothing that reads events is faster.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use onsip_router::simulator::Account;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::peer::Orders;
use super::tally::Tally;

const ROOM: usize = 16 * 1024;

pub async fn session(account: Account, orders: Arc<Orders>, tally: Arc<Tally>) {
    let login = tally.logins.acquire().await.unwrap();
    let mut tcp = TcpStream::connect(&orders.address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    if !orders.starttls {
        log_in(&mut tcp, &account, &orders).await;
        drop(login);
        return count(tcp, &tally).await;
    }
    let domain = account.jid.domain().to_string();
    let upgrade = format!("{}<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", header(&account));
    say(&mut tcp, &upgrade, "<proceed").await;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let mut tls = connector.connect(domain.try_into().unwrap(), tcp).await.unwrap();
    log_in(&mut tls, &account, &orders).await;
    drop(login);
    count(tls, &tally).await;
}

async fn count(mut stream: impl AsyncRead + Unpin, tally: &Tally) {
    tally.subscribed();
    let mut bytes = vec![0; ROOM];
    loop {
        match stream.read(&mut bytes).await.unwrap() {
            0 => panic!("the service closed the connection"),
            count => tally.bytes(count),
        }
    }
}

fn header(account: &Account) -> String {
    let streams = "xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'";
    format!("<stream:stream {streams} version='1.0' to='{}'>", account.jid.domain())
}

async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, account: &Account, orders: &Orders) {
    let Account { jid, password, .. } = account;
    let domain = &orders.services_domain;
    let plain = BASE64.encode(format!("\0{}\0{password}", jid.node().unwrap()));
    let auth =
        format!("{}<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>", header(account));
    say(stream, &auth, "<success").await;
    let bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bytes</resource></bind>\
        </iq><presence><priority>1</priority></presence>";
    say(stream, &format!("{}{bind}", header(account)), "</iq>").await;
    let field = |name: &str, value: &str| format!("<field var='{name}'><value>{value}</value></field>");
    let authorize = format!(
        "<iq type='set' id='a' to='commands.auth.{domain}'><command xmlns='http://jabber.org/protocol/commands' \
         node='authorize-plain'><x xmlns='jabber:x:data' type='submit'>{}{}{}</x></command></iq>",
        field("sip-address", jid.as_str()),
        field("password", password),
        field("auth-for-all", "true")
    );
    say(stream, &authorize, "</iq>").await;
    let subscribe = format!(
        "<iq type='set' id='s' to='pubsub.active-calls.{domain}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <subscribe node='/me/{jid}' jid='{jid}/bytes'/></pubsub></iq>"
    );
    say(stream, &subscribe, "</message>").await;
}

async fn say(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str, until: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let (mut heard, mut bytes) = (String::new(), [0; 1024]);
    while !heard.contains(until) {
        let count = stream.read(&mut bytes).await.unwrap();
        assert_ne!(count, 0, "the service closed the connection after {heard}");
        heard.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
}
