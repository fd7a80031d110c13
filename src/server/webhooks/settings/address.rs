//! Which addresses a delivery may reach. A receiver's name is the operator's, and its addresses are whoever answers for
//! that name; so every address is judged when it is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far away an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// An address of the internet.
    Public,
    /// An address of this machine or of a private network.
    Private,
    /// An address that no receiver has: a link-local one, the metadata service of a cloud, or no address of a host.
    Forbidden,
}

impl Reach {
    /// How far away an address is. An IPv6 address that stands for an IPv4 address is judged by that one too.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => {
                let embedded = embedded(address).into_iter().flatten().map(Self::of_v4);
                embedded.fold(Self::of_v6(address), Self::max)
            }
        }
    }

    /// Whether deliveries may be sent there.
    #[must_use]
    pub fn is_allowed(self, allows_private: bool) -> bool {
        match self {
            Self::Public => true,
            Self::Private => allows_private,
            Self::Forbidden => false,
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            // Link-local, with the metadata services of most clouds; those of Azure, Alibaba Cloud and Oracle.
            [169, 254, ..] | [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => Self::Forbidden,
            // "This host", multicast, reserved and broadcast.
            [0 | 224..=255, ..] => Self::Forbidden,
            [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            // Shared by the customers of a provider, protocol assignments, 6to4 relays, benchmarks.
            [100, 64..=127, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => Self::Private,
            // Documentation.
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            // Unspecified, multicast, link-local.
            [0, 0, 0, 0, 0, 0, 0, 0] | [0xff00..=0xffff, ..] | [0xfe80..=0xfebf, ..] => Self::Forbidden,
            // The metadata services of AWS, Google Cloud and Oracle.
            [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] | [0xfd00, 0xc1, ..] => Self::Forbidden,
            // Loopback and everything below it that is not judged as an IPv4 address.
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Private,
            // Unique local, the former site-local, local translation, Teredo.
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => {
                Self::Private
            }
            // Documentation, discard-only, benchmarks, segment routing.
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x100, 0, 0, 0 | 1, ..] | [0x5f00, ..] => {
                Self::Private
            }
            [0x2001, 2, 0, ..] => Self::Private,
            _ => Self::Public,
        }
    }
}

/// The IPv4 addresses that an IPv6 address stands for, by any of the usual translations.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let last = match [a, b, c, d, e, f] {
        // Mapped, translated (RFC 2765), and NAT64 with both well-known prefixes.
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, ..] => Some(v4(g, h)),
        // Compatible; `::` and `::1` are not.
        [0, 0, 0, 0, 0, 0] if g > 0 => Some(v4(g, h)),
        // ISATAP, below any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe] => Some(v4(g, h)),
        _ => None,
    };
    let first = (a == 0x2002).then(|| v4(b, c));
    [last, first]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(text: &str) -> Reach {
        Reach::of(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "169.253.255.255",
            "169.255.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert_eq!(reach(text), Reach::Public, "{text}");
        }
    }

    #[test]
    fn addresses_of_this_machine_and_of_private_networks_are_private() {
        for text in [
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "198.19.0.1",
            "192.0.2.1",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::192.168.0.1",
            "64:ff9b:1::1.1.1.1",
            "2002:a00:1::1",
            "2001:0:1:2:3:4:5:6",
            "2606:4700::5efe:10.0.0.1",
        ] {
            assert_eq!(reach(text), Reach::Private, "{text}");
        }
    }

    #[test]
    fn link_local_and_metadata_addresses_are_forbidden_in_every_spelling() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "::ffff:0:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2606:4700::5efe:169.254.169.254",
            "2606:4700::200:5efe:169.254.169.254",
        ] {
            assert_eq!(reach(text), Reach::Forbidden, "{text}");
        }
    }

    #[test]
    fn the_setting_allows_private_addresses_only() {
        assert!(Reach::Public.is_allowed(false) && Reach::Private.is_allowed(true));
        assert!(!Reach::Private.is_allowed(false) && !Reach::Forbidden.is_allowed(true));
    }
}
