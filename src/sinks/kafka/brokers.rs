//! Where a Kafka cluster is found, as its users write it. Must not know how to get there.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What is listened on where nothing else is written.
const PORT: u16 = 9092;

/// `HOST:PORT` of some brokers of one cluster; it tells of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(Vec<(String, u16)>);

impl Brokers {
    /// Whether nothing leaves this machine.
    pub(super) fn are_local(&self) -> bool {
        self.0.iter().all(|(host, _)| {
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        })
    }
}

impl FromStr for Brokers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|broker| address(broker.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn address(text: &str) -> Result<(String, u16), String> {
    const EXPECTED: &str = "must be HOST:PORT, or several of them with commas between";
    if text.contains('@') {
        return Err("must not hold credentials; they belong into the keys `username` and `password`".to_owned());
    }
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| EXPECTED.to_owned())?),
        _ => (text, PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let whole = match bare {
        Some(bare) => bare.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()),
        None => !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    if whole { Ok((host.to_owned(), port)) } else { Err(EXPECTED.to_owned()) }
}

impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, port)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{host}:{port}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_can_be_left_out_and_there_may_be_several() {
        let shown = |text: &str| text.parse::<Brokers>().unwrap().to_string();
        assert_eq!(shown("a"), "a:9092");
        assert_eq!(shown("a.example:1, [::1], [::1]:2,127.0.0.1"), "a.example:1,[::1]:9092,[::1]:2,127.0.0.1:9092");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for bad in ["", ":1", "a:x", "a:70000", "a,", "kafka://a:1", "a/b", "::1", "[a]:1", "a b:1"] {
            assert!(bad.parse::<Brokers>().unwrap_err().starts_with("must be HOST:PORT"), "{bad}");
        }
        for bad in ["u:hunter2@a:1", "a,:hunter2@b"] {
            let message = bad.parse::<Brokers>().unwrap_err();
            assert!(message.contains("`password`") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_address() {
        let local = |text: &str| text.parse::<Brokers>().unwrap().are_local();
        assert!(local("127.0.0.1,localhost:1,[::1]:2"));
        assert!(!local("127.0.0.1,a.example") && !local("10.0.0.1") && !local("127.0.0.1.example"));
    }
}
