use std::net::Ipv4Addr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::config::Config;
use crate::dial::tests::{Swallowing, TWO_ADDRESSES};

/// The sink that these lines describe.
fn sink(lines: &str) -> Box<dyn Sink> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let account = "[accounts.a]\njid = 'a@b.test'\npassword = 'x'\n";
    std::fs::write(file.path(), format!("{account}[sinks.s]\n{lines}\n")).unwrap();
    let config = Config::load(&[file.path().to_owned()], std::iter::empty()).unwrap();
    config.sinks.values().next().unwrap().options.open()
}

/// Of the two addresses of a name the first swallows everything: the sink must come to speak at the second one.
#[tokio::test]
async fn b1_every_sink_that_keeps_a_connection_tries_every_address() {
    let body = r#"{"specversion":"1.0","id":"1","source":"s","type":"t","time":"2026-01-01T00:00:00Z","subject":"s",
        "datacontenttype":"application/json","dataschema":"d","sequence":"1","partitionkey":"1","data":{"account":"a"}}"#;
    let parcel = Parcel { id: "1".into(), partition: "1".into(), body: body.into() };
    for lines in [
        "type = 'redis'\nurl = 'redis://HOST:PORT'",
        "type = 'amqp'\nurl = 'amqp://HOST:PORT'\nexchange = 'x'",
        "type = 'postgres'\nhost = 'HOST'\nport = PORT\ndatabase = 'd'\nuser = 'u'\ntls = 'off'",
        "type = 'postgres'\nhost = 'HOST'\nport = PORT\ndatabase = 'd'\nuser = 'u'\ntls = 'require'",
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let _swallowing = Swallowing::at(Ipv4Addr::new(127, 0, 0, 2), port).await;
        let mut sink = sink(&lines.replace("HOST", TWO_ADDRESSES).replace("PORT", &port.to_string()));
        let parcels = [parcel.clone()];
        let heard = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.read_u8().await.unwrap()
        };
        tokio::select! {
            heard = timeout(Duration::from_secs(30), heard) => assert!(heard.is_ok(), "{lines}"),
            answers = sink.deliver(&parcels) => unreachable!("{lines}: {answers:?}"),
        }
    }
}
