//! Which addresses may be called. What a name leads to is looked at anew for every connection, and the connection goes
//! to the very address that was looked at.
//!
//! Must not know what is posted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Addresses outside the link-local blocks at which clouds tell an instance its secrets.
const METADATA: [IpAddr; 6] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Blocks that are not reached over the public Internet (IANA special-purpose registry), as address and prefix length.
const NOT_PUBLIC: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Says why `address` must not be called.
pub(super) fn vet(address: IpAddr, public_only: bool) -> Result<(), &'static str> {
    let inner = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
    };
    let both = || std::iter::once(address).chain(inner);
    if both().any(is_link_local) {
        return Err("is link-local, and those are never called");
    }
    if both().any(|address| METADATA.contains(&address)) {
        return Err("tells the secrets of a cloud instance, and those are never called");
    }
    if public_only && !inner.map_or_else(|| is_public(address), is_public) {
        return Err("is not public, and `public_only` is set");
    }
    Ok(())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC.iter().any(|(block, length)| {
            let mask = u32::MAX << (32 - length);
            address.to_bits() & mask == block.to_bits()
        }),
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            let global_unicast = first & 0xe000 == 0x2000;
            let for_protocols = first == 0x2001 && second < 0x200;
            let for_documents = (first == 0x2001 && second == 0xdb8) || (first == 0x3fff && second < 0x1000);
            global_unicast && !for_protocols && !for_documents
        }
    }
}

/// The IPv4 address that traffic to `address` ends at: mapped, compatible, translated (RFC 2765), behind NAT64 (RFC 6052)
/// or 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let four = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None, // no address, and loopback
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => four(high, low),
        _ => None,
    }
}

/// Looks names up as the system does, and vets every answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct VettingResolver {
    /// Whether only public addresses may be called.
    pub(super) public_only: bool,
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let public_only = self.public_only;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found: Vec<_> = found.map_err(|fault| format!("{} was not found: {fault}", name.as_str()))?.collect();
            Ok(vetted(name.as_str(), found, public_only)?)
        })
    }
}

/// One address of the wrong kind spoils them all: whoever answers so is not to be trusted with the rest.
fn vetted(name: &str, found: Vec<SocketAddr>, public_only: bool) -> Result<Addrs, String> {
    for address in &found {
        vet(address.ip(), public_only).map_err(|why| format!("{name} leads to {}, which {why}", address.ip()))?;
    }
    Ok(Box::new(found.into_iter()))
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
        assert_eq!(vetted("a.test", found(&["1.1.1.1", "10.0.0.1"]), false).unwrap().count(), 2);
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
        let resolve = |public_only| VettingResolver { public_only }.resolve("localhost".parse().unwrap());
        assert!(resolve(false).await.unwrap().all(|address| address.ip().is_loopback()));
        let fault = resolve(true).await.map(drop).unwrap_err().to_string();
        assert!(fault.starts_with("localhost leads to ") && fault.ends_with("`public_only` is set"), "{fault}");
    }
}
