//! The server `tests/run` started, and accounts on it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use xmpp_parsers::jid::BareJid;

use crate::support::http;

/// Names the file in which `tests/run` says where its server is.
const VARIABLE: &str = "ONSIP_ROUTER_TEST_EJABBERD";

/// The domain of the accounts, and the one below which the services are.
pub const DOMAIN: &str = "localhost";
/// The service the tests publish on.
pub const SERVICE: &str = "pubsub.active-calls.localhost";
/// The password of every account.
pub const PASSWORD: &str = "not-a-secret";

/// The running server.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Where clients connect, without TLS.
    pub xmpp: SocketAddr,
    api: SocketAddr,
}

impl Server {
    /// The server of this run. Without one the test fails: it is never skipped.
    pub fn of_this_run() -> Self {
        let path = std::env::var_os(VARIABLE)
            .unwrap_or_else(|| panic!("{VARIABLE} is not set: start these tests through tests/run"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let address = |key: &str| -> SocketAddr { value[key].as_str().expect(key).parse().expect(key) };
        Self { xmpp: address("xmpp"), api: address("api") }
    }

    /// Makes an account that no other test has; its name begins with `name`.
    pub async fn register(&self, name: &str) -> BareJid {
        let user = format!("{name}-{}", std::process::id());
        let body = json!({ "user": user, "host": DOMAIN, "password": PASSWORD });
        let answer = http::post_json(self.api, "/api/register", &body.to_string()).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        format!("{user}@{DOMAIN}").parse().expect("a JID")
    }
}
