//! Which addresses may be called. What a name leads to is looked at anew for every connection, and the connection goes
//! to the very address that was looked at.
//!
//! Must not know what is posted.

use std::net::{IpAddr, SocketAddr};

use crate::dial;
use crate::dial::kind::Kind;

/// Says why `address` must not be called.
pub(super) fn vet(address: IpAddr, public_only: bool) -> Result<(), &'static str> {
    match Kind::of(address) {
        Kind::LinkLocal => Err("is link-local, and those are never called"),
        Kind::Metadata => Err("tells the secrets of a cloud instance, and those are never called"),
        Kind::Loopback | Kind::Private | Kind::Reserved if public_only => {
            Err("is not public, and `public_only` is set")
        }
        Kind::Public | Kind::Loopback | Kind::Private | Kind::Reserved => Ok(()),
    }
}

/// Looks `host` up as the system does, and vets every answer. One address of the wrong kind spoils them all: whoever
/// answers so is not to be trusted with the rest.
///
/// # Errors
/// Why it is not called.
pub(super) async fn find(host: &str, port: u16, public_only: bool) -> Result<Vec<SocketAddr>, String> {
    let found = dial::addresses(host, port).await.map_err(|fault| format!("{host} was not found: {fault}"))?;
    vetted(host, found, public_only)
}

fn vetted(name: &str, found: Vec<SocketAddr>, public_only: bool) -> Result<Vec<SocketAddr>, String> {
    for address in &found {
        vet(address.ip(), public_only).map_err(|why| format!("{name} leads to {}, which {why}", address.ip()))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vetted_as(public_only: bool, text: &str) -> bool {
        vet(text.parse().unwrap(), public_only).is_ok()
    }

    #[test]
    fn link_local_and_metadata_addresses_are_never_called_in_whatever_form() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "::ffff:100.100.100.200",
            "168.63.129.16",
        ] {
            assert!(!vetted_as(false, address) && !vetted_as(true, address), "{address}");
        }
    }

    #[test]
    fn private_and_loopback_addresses_are_called_unless_only_public_ones_may_be() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.2.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "4000::1",
        ] {
            assert!(vetted_as(false, address) && !vetted_as(true, address), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_called() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "172.32.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert!(vetted_as(false, address) && vetted_as(true, address), "{address}");
        }
    }

    #[test]
    fn one_bad_answer_spoils_the_good_ones() {
        let found = |texts: &[&str]| texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect();
        let refused = |texts: &[&str], public_only| vetted("a.test", found(texts), public_only).map(drop).unwrap_err();
        assert_eq!(vetted("a.test", found(&["1.1.1.1", "10.0.0.1"]), false).unwrap().len(), 2);
        assert_eq!(
            refused(&["1.1.1.1", "10.0.0.1"], true),
            "a.test leads to 10.0.0.1, which is not public, and `public_only` is set"
        );
        assert_eq!(
            refused(&["1.1.1.1", "169.254.169.254"], false),
            "a.test leads to 169.254.169.254, which is link-local, and those are never called"
        );
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_its_answers_are_vetted() {
        let find = |public_only| find("localhost", 80, public_only);
        assert!(find(false).await.unwrap().iter().all(|address| address.ip().is_loopback()));
        let fault = find(true).await.unwrap_err();
        assert!(fault.starts_with("localhost leads to ") && fault.ends_with("`public_only` is set"), "{fault}");
    }
}
