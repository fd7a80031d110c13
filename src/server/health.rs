//! `aforo health`: asks the running server whether it is alive. An image with nothing but the program has no other tool
//! for its health check.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::Client;

use super::config::Config;

/// How long the server may take to respond.
const RESPONSE_LIMIT: Duration = Duration::from_secs(2);

/// Asks `/healthz` of the server with this configuration, on this machine.
///
/// # Errors
/// Why the server is not alive.
pub async fn ask(config: &Config) -> Result<(), String> {
    let url = format!("{}/healthz", base_url(config));
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    // The name in the certificate is that of the site, and the connection does not leave this machine.
    let client =
        Client::builder().timeout(RESPONSE_LIMIT).no_proxy().danger_accept_invalid_certs(true).build();
    let client = client.map_err(|error| error.to_string())?;
    let response = client.get(&url).send().await.map_err(|_| format!("no response from {url}"))?;
    if response.status().is_success() { Ok(()) } else { Err(format!("{url} answered {}", response.status())) }
}

/// The address of the server with this configuration, on its own machine.
#[must_use]
pub fn base_url(config: &Config) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", local(config.site_addr))
}

/// Where a server that listens on `addr` can be reached on its own machine.
fn local(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_the_loopback() {
        for (addr, expected) in [
            ("0.0.0.0:3000", "127.0.0.1:3000"),
            ("[::]:443", "[::1]:443"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
        ] {
            assert_eq!(local(addr.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
