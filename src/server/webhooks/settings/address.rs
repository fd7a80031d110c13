//! Which addresses a delivery may reach. A receiver's name is the operator's, and its addresses are whoever answers for
//! that name; so every address is judged when it is used.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use ipnet::IpNet;

/// Networks in which no receiver is.
static FORBIDDEN: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    networks(&[
        // Link-local, with the metadata services of most clouds.
        "169.254.0.0/16",
        "fe80::/10",
        // Metadata services: Azure, Alibaba Cloud, Oracle (twice), AWS, Google Cloud.
        "168.63.129.16/32",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "fd00:c1::/32",
        "fd00:ec2::/32",
        "fd20:ce::/32",
        // Unspecified, multicast, reserved and broadcast.
        "0.0.0.0/8",
        "224.0.0.0/3",
        "::/128",
        "ff00::/8",
    ])
});

/// Networks that are not the internet's.
static PRIVATE: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    networks(&[
        // Loopback and private networks.
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fec0::/10",
        // Shared by the customers of a provider, protocol assignments, 6to4 relays, benchmarks.
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "2001:2::/48",
        // Local translation to IPv4, Teredo, segment routing.
        "64:ff9b:1::/48",
        "2001::/32",
        "5f00::/16",
        // Documentation, discard-only.
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001:db8::/32",
        "3fff::/20",
        "100::/63",
    ])
});

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

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
        let by_table = |address: IpAddr| {
            let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
            if is_in(&FORBIDDEN) {
                Self::Forbidden
            } else if is_in(&PRIVATE) {
                Self::Private
            } else {
                Self::Public
            }
        };
        let embedded = match address {
            IpAddr::V4(_) => [None, None],
            IpAddr::V6(address) => embedded(address),
        };
        let embedded = embedded.into_iter().flatten().map(IpAddr::V4);
        embedded.map(by_table).fold(by_table(address), Self::max)
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
}

/// The IPv4 addresses that an IPv6 address stands for, by any of the usual translations.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let has_last = match [a, b, c, d, e, f] {
        // Compatible; `::` and `::1` are not.
        [0, 0, 0, 0, 0, 0] => g > 0,
        // Mapped, translated (RFC 2765), NAT64 with both well-known prefixes, and ISATAP below any prefix.
        [0, 0, 0, 0, 0, 0xffff]
        | [0, 0, 0, 0, 0xffff, 0]
        | [0x64, 0xff9b, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe] => true,
        _ => false,
    };
    let first = (a == 0x2002).then(|| v4(b, c));
    [has_last.then(|| v4(g, h)), first]
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
