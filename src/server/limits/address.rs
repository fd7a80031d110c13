//! The client address that limits apply to, and the proxies that may name it.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use axum::http::HeaderMap;
use ipnet::{IpNet, Ipv4Net};

/// The header in which each proxy appends the address that it received the request from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// A client, for limits: an IPv4 address, or the /64 network of an IPv6 address. It is never logged or stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64))),
        })
    }
}

impl Address {
    /// The /48 network of an IPv6 address, which contains 65,536 /64 networks. `None` for IPv4.
    #[must_use]
    pub fn site(self) -> Option<Self> {
        match self.0 {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(Self(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (!0 << 80))))),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(address)")
    }
}

/// The networks of trusted proxies, whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// The client address of a request on a connection from `peer`.
    ///
    /// If the peer is a trusted proxy, `X-Forwarded-For` is read from the right: each trusted proxy has appended the
    /// address that it received the request from, so the first address that is not a trusted proxy is the client.
    /// Entries to the left of it may be forged by the client. They are not read and may be any bytes.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Address {
        let mut client = peer.ip().to_canonical();
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        while self.0.iter().any(|network| network.contains(&client)) {
            match hops.next().and_then(parse_hop) {
                Some(next) => client = next,
                None => break,
            }
        }
        client.into()
    }

    /// Whether an address belongs to a trusted proxy.
    #[must_use]
    pub fn include(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }
}

impl FromIterator<Network> for Proxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().map(|Network(network)| network).collect())
    }
}

/// Parses one entry of `X-Forwarded-For`. Some proxies add the port.
fn parse_hop(bytes: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(bytes).ok()?.trim();
    let ip = text.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    ip.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()).map(|ip: IpAddr| ip.to_canonical())
}

/// A network in the settings: `10.0.0.0/8`, `fd00::/8`, or a single address. IPv4 networks that are written as IPv6
/// (`::ffff:10.0.0.0/104`) are the IPv4 networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(|network| Self(canonical(network)))
            .map_err(|_| "not a network such as 10.0.0.0/8 or an address".to_owned())
    }
}

/// The prefix of the IPv6 addresses that stand for IPv4 addresses.
const MAPPED_PREFIX: u8 = 96;

/// The network as addresses are compared: IPv4 addresses as such.
fn canonical(network: IpNet) -> IpNet {
    let as_v4 = || {
        let IpNet::V6(v6) = network else { return None };
        let prefix = v6.prefix_len().checked_sub(MAPPED_PREFIX)?;
        Ipv4Net::new(v6.addr().to_ipv4_mapped()?, prefix).ok()
    };
    as_v4().map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(peer: &str, forwarded: &[&'static str]) -> IpAddr {
        let trusted: Proxies =
            ["10.0.0.0/8", "127.0.0.1", "fd00::/8"].map(|text| text.parse().unwrap()).into_iter().collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        trusted.client(format!("{peer}:4711").parse().unwrap(), &headers).0
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn x_forwarded_for_of_untrusted_peers_is_ignored() {
        assert_eq!(client("198.51.100.7", &["203.0.113.9"]), ip("198.51.100.7"));
    }

    #[test]
    fn x_forwarded_for_of_trusted_proxies_is_read_from_the_right() {
        assert_eq!(client("10.1.2.3", &["6.6.6.6, 203.0.113.9"]), ip("203.0.113.9"));
        assert_eq!(client("10.1.2.3", &["6.6.6.6, 203.0.113.9, 10.9.9.9"]), ip("203.0.113.9"));
        assert_eq!(client("10.1.2.3", &["6.6.6.6", "203.0.113.9", "10.9.9.9"]), ip("203.0.113.9"));
        assert_eq!(client("[::ffff:10.1.2.3]", &["203.0.113.9"]), ip("203.0.113.9"));
    }

    #[test]
    fn an_entry_that_is_not_an_address_ends_the_chain() {
        assert_eq!(client("10.1.2.3", &[]), ip("10.1.2.3"));
        assert_eq!(client("10.1.2.3", &["203.0.113.9, unknown"]), ip("10.1.2.3"));
        assert_eq!(client("10.1.2.3", &["10.4.4.4"]), ip("10.4.4.4"));
    }

    #[test]
    fn invalid_bytes_left_of_the_client_are_ignored() {
        let trusted: Proxies = ["10.0.0.0/8"].map(|text| text.parse().unwrap()).into_iter().collect();
        for value in
            [&b"\xff\xfe, 203.0.113.9"[..], b"\xc3(, x y, 203.0.113.9, 10.9.9.9", b"\xff,203.0.113.9 "]
        {
            let mut headers = HeaderMap::new();
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value).unwrap());
            assert_eq!(trusted.client("10.1.2.3:4711".parse().unwrap(), &headers).0, ip("203.0.113.9"));
        }
    }

    #[test]
    fn networks_of_mapped_addresses_are_those_of_ipv4() {
        for (text, inside, outside) in [
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("::ffff:10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("::ffff:0:0/96", "203.0.113.9", "2001:db8::1"),
        ] {
            let trusted: Proxies = std::iter::once(text.parse().unwrap()).collect();
            assert!(trusted.include(ip(inside)) && !trusted.include(ip(outside)), "{text}");
        }
    }

    #[test]
    fn networks_of_one_48_share_a_site() {
        let of = |text: &str| Address::from(ip(text)).site();
        assert!(of("2001:db8:1:2::1").is_some() && of("2001:db8:1:2::1") == of("2001:db8:1:3::1"));
        assert!(of("2001:db8:1:2::1") != of("2001:db8:2:2::1"));
        assert!(of("203.0.113.9").is_none() && of("::ffff:203.0.113.9").is_none());
    }

    #[test]
    fn ports_are_removed() {
        assert_eq!(client("127.0.0.1", &["203.0.113.9:1234"]), ip("203.0.113.9"));
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]:1234"]), ip("2001:db8::"));
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]"]), ip("2001:db8::"));
    }

    #[test]
    fn a_64_is_one_client() {
        let of = |text: &str| Address::from(ip(text));
        assert!(of("2001:db8:1:2:3::1") == of("2001:db8:1:2:ffff::9"));
        assert!(of("2001:db8:1:2::1") != of("2001:db8:1:3::1"));
        assert!(of("::ffff:203.0.113.9") == of("203.0.113.9"));
    }
}
