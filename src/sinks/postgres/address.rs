//! Where a `PostgreSQL` server is. Must not know how to get there.

use std::fmt;

use super::super::address::is_local;

/// A host and a port, or the folder of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, or the path of a folder.
    pub host: String,
    /// TCP port; part of the socket's name too.
    pub port: u16,
}

impl Address {
    /// Whether nothing leaves this machine.
    pub(super) fn is_local(&self) -> bool {
        is_local(&self.host) || self.is_socket()
    }

    /// Whether it is the folder of a socket.
    pub(super) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What is wrong with a host as a setting.
pub(super) fn check_host(text: &str) -> Result<(), String> {
    if text.contains('@') || text.contains("://") {
        return Err("must be a name or an address alone; `port`, `database`, `user` and `password` are keys of their \
                    own"
        .to_owned());
    }
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    if text.is_empty() || !text.chars().all(plain) {
        return Err("must be a name, an IP address or the path of a folder".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_address() {
        let local = |host: &str| Address { host: host.to_owned(), port: 5432 }.is_local();
        for host in ["127.0.0.1", "127.1.2.3", "::1", "localhost", "/run/postgresql"] {
            assert!(local(host), "{host}");
        }
        for host in ["db.example", "10.0.0.1", "127.0.0.1.example"] {
            assert!(!local(host), "{host}");
        }
    }

    #[test]
    fn a_host_is_no_url_and_holds_no_credentials() {
        for good in ["db", "db.example", "10.0.0.1", "::1", "/run/postgresql"] {
            assert_eq!(check_host(good), Ok(()));
        }
        for bad in ["postgres://router:hunter2@db/x", "router:hunter2@db"] {
            let message = check_host(bad).unwrap_err();
            assert!(message.contains("`password`") && !message.contains("hunter2"), "{message}");
        }
        for bad in ["", "a b", "a\n"] {
            assert!(check_host(bad).is_err());
        }
    }
}
