//! Where a Kafka cluster is found, as its users write it. Must not know how to get there.

use std::fmt;
use std::str::FromStr;

use super::super::address::{host_and_port, is_local, without_credentials};
use crate::domain::host;

/// What is listened on where nothing else is written.
const PORT: u16 = 9092;

/// `HOST:PORT` of some brokers of one cluster; it tells of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(Vec<(String, u16)>);

impl Brokers {
    /// Whether nothing leaves this machine.
    pub(super) fn are_local(&self) -> bool {
        self.0.iter().all(|(host, _)| is_local(host))
    }
}

impl FromStr for Brokers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        without_credentials(text)?;
        let brokers = text.split(',').map(|broker| {
            let (host, port) = host_and_port(broker.trim())?;
            Some((host::ascii(host).unwrap_or_else(|| host.to_owned()), port.unwrap_or(PORT)))
        });
        let brokers: Option<Vec<_>> = brokers.collect();
        Ok(Self(brokers.ok_or("must be HOST:PORT, or several of them with commas between")?))
    }
}

impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, port)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if host.contains(':') {
                write!(f, "{comma}[{host}]:{port}")?;
            } else {
                write!(f, "{comma}{host}:{port}")?;
            }
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
