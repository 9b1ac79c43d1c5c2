//! A configuration of the router for a simulated service, as text to copy.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::directory::Account;

/// A whole configuration: the service at `address`, the accounts as `demo-1`, `demo-2`, …, and a sink on standard output.
pub fn configuration(address: SocketAddr, services_domain: &str, accounts: &[Account]) -> String {
    let mut text = connection(address, services_domain);
    text.push_str(&account_sections(accounts));
    text.push_str("\n[sinks.console]\ntype = \"stdout\"\n");
    text
}

fn connection(address: SocketAddr, services_domain: &str) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!(
        "[xmpp]\nhost = \"{host}\"\nport = {}\ntls = \"off\"\n\n[onsip]\nservices_domain = {}\n",
        address.port(),
        quoted(services_domain)
    )
}

fn account_sections(accounts: &[Account]) -> String {
    let mut text = String::new();
    for (at, account) in accounts.iter().enumerate() {
        let (jid, password) = (quoted(account.jid.as_str()), quoted(&account.password));
        let _ = write!(text, "\n[accounts.demo-{}]\njid = {jid}\npassword = {password}\n", at + 1);
    }
    text
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_toml_and_names_every_account() {
        let accounts = [Account::numbered(1).unwrap(), Account::new("anna@acme.test", "a\"b\\c").unwrap()];
        let text = configuration("0.0.0.0:5222".parse().unwrap(), "xmpp.onsip.test", &accounts);
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["xmpp"]["host"].as_str(), Some("127.0.0.1"));
        assert_eq!(table["xmpp"]["port"].as_integer(), Some(5222));
        assert_eq!(table["accounts"]["demo-1"]["jid"].as_str(), Some("user1@example.onsip.test"));
        assert_eq!(table["accounts"]["demo-2"]["password"].as_str(), Some("a\"b\\c"));
        assert_eq!(table["sinks"]["console"]["type"].as_str(), Some("stdout"));
    }
}
