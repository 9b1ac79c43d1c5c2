//! Kinds of IP addresses, and which of them a server may send us to.
//!
//! Must not know who asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Which network an address belongs to, in whatever form it is written: mapped, translated or behind 6to4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This machine.
    Loopback,
    /// A network of one's own (RFC 1918, RFC 4193), or of a provider (RFC 6598).
    Private,
    /// The link.
    LinkLocal,
    /// A place at which clouds tell an instance its secrets.
    Metadata,
    /// For documents, multicast, not assigned, or no address at all.
    Reserved,
    /// The public Internet.
    Public,
}

/// Blocks that are networks of one's own.
const PRIVATE: [(Ipv4Addr, u32); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];

impl Kind {
    /// Returns the kind of `address`. An IPv6 address that leads to an IPv4 address is of the kind of that one.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let inner = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
        };
        let both = || std::iter::once(address).chain(inner);
        if both().any(is_link_local) {
            return Self::LinkLocal;
        }
        if both().any(|address| METADATA.contains(&address)) {
            return Self::Metadata;
        }
        match inner.unwrap_or(address) {
            address if address.is_loopback() => Self::Loopback,
            IpAddr::V4(address) if is_within(address, &PRIVATE) => Self::Private,
            IpAddr::V6(address) if address.is_unique_local() => Self::Private,
            address if is_public(address) => Self::Public,
            _ => Self::Reserved,
        }
    }

    /// Whether a server whose own addresses are of the kinds `own` may send us to an address of this kind: to a public one
    /// always, to any other only where the server itself is of that kind. Otherwise a hostile one could have us knock at
    /// doors of the operator's network that it cannot reach itself.
    #[must_use]
    pub fn may_be_named_by(self, own: &[Self]) -> bool {
        match self {
            Self::Public => true,
            Self::Metadata => false,
            Self::Loopback | Self::Private | Self::LinkLocal | Self::Reserved => own.contains(&self),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Loopback => "this machine",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "an address of cloud metadata",
            Self::Reserved => "a reserved address",
            Self::Public => "a public address",
        })
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !is_within(address, &NOT_PUBLIC),
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

fn is_within(address: Ipv4Addr, blocks: &[(Ipv4Addr, u32)]) -> bool {
    blocks.iter().any(|(block, length)| address.to_bits() & (u32::MAX << (32 - length)) == block.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        Kind::of(text.parse().unwrap())
    }

    #[test]
    fn an_address_is_of_its_kind_in_whatever_form() {
        for (expected, texts) in [
            (Kind::Loopback, &["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"] as &[&str]),
            (Kind::Private, &["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"]),
            (Kind::LinkLocal, &["169.254.1.1", "fe80::1", "::ffff:169.254.169.254"]),
            (Kind::Metadata, &["100.100.100.200", "fd00:ec2::254"]),
            (Kind::Reserved, &["0.0.0.0", "::", "224.0.0.1", "192.0.2.1", "2001:db8::1", "ff02::1", "240.0.0.1"]),
            (Kind::Public, &["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"]),
        ] {
            for text in texts {
                assert_eq!(kind(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn c3_a_server_may_send_us_to_the_internet_and_to_what_is_of_its_own_kind() {
        let internet = [Kind::Public];
        let on_premises = [Kind::Private, Kind::Public];
        let own_machine = [Kind::Loopback];
        for inner in ["10.0.0.5", "127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "100.100.100.200", "fd00::1"] {
            assert!(!kind(inner).may_be_named_by(&internet), "{inner}");
        }
        assert!(kind("10.0.0.5").may_be_named_by(&on_premises) && kind("192.168.0.5").may_be_named_by(&on_premises));
        assert!(!kind("127.0.0.1").may_be_named_by(&on_premises) && !kind("10.0.0.5").may_be_named_by(&own_machine));
        assert!(!kind("100.100.100.200").may_be_named_by(&[Kind::Metadata, Kind::Private]));
        for own in [&internet as &[Kind], &on_premises, &own_machine] {
            assert!(kind("1.1.1.1").may_be_named_by(own));
        }
    }
}
