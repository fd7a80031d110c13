//! Resolves the names of receivers, and removes the addresses that a delivery may not reach.
//!
//! The addresses that are left are the ones that are connected to. So a name that resolves to another address the next time
//! gains nothing.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::settings::address::Reach;

/// A source of the addresses of names.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All addresses of a name.
    ///
    /// # Errors
    /// When the name can't be resolved.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the system.
#[derive(Debug)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// A name has no address that a delivery may reach.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address to which deliveries are sent")]
pub struct Refused;

/// A resolver without the addresses that a delivery may not reach.
pub(super) struct FilteredResolver {
    lookup: Arc<dyn Lookup>,
    allows_private: bool,
}

impl FilteredResolver {
    pub(super) fn new(lookup: Arc<dyn Lookup>, allows_private: bool) -> Self {
        Self { lookup, allows_private }
    }
}

impl Resolve for FilteredResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allows_private) = (Arc::clone(&self.lookup), self.allows_private);
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await?;
            let is_allowed = |address: &IpAddr| Reach::of(*address).is_allowed(allows_private);
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(is_allowed).map(|address| SocketAddr::new(address, 0)).collect();
            if allowed.is_empty() {
                return Err(Box::<dyn Error + Send + Sync>::from(Refused));
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use parking_lot::Mutex;

    use super::*;

    struct Fixed(Vec<IpAddr>);

    #[async_trait]
    impl Lookup for Fixed {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.clone())
        }
    }

    async fn resolved(addresses: &[&str], allows_private: bool) -> Option<Vec<String>> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let resolver = FilteredResolver::new(Arc::new(Fixed(addresses)), allows_private);
        let found = resolver.resolve("hooks.example".parse().unwrap()).await.ok()?;
        Some(found.map(|address| address.ip().to_string()).collect())
    }

    #[tokio::test]
    async fn only_addresses_that_may_be_reached_are_left() {
        let mixed = ["169.254.169.254", "10.0.0.1", "1.1.1.1", "::ffff:169.254.169.254", "fe80::1"];
        assert_eq!(resolved(&mixed, false).await.unwrap(), ["1.1.1.1"]);
        assert_eq!(resolved(&mixed, true).await.unwrap(), ["10.0.0.1", "1.1.1.1"]);
        assert_eq!(resolved(&["127.0.0.1", "::1"], false).await, None);
        assert_eq!(resolved(&["169.254.169.254"], true).await, None);
        assert_eq!(resolved(&[], true).await, None);
    }
    struct Changing(Mutex<VecDeque<IpAddr>>);

    #[async_trait]
    impl Lookup for Changing {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.lock().pop_front().into_iter().collect())
        }
    }

    #[tokio::test]
    async fn a_name_that_becomes_private_is_refused_from_then_on() {
        for next in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fd12::1", "::ffff:192.168.0.1"] {
            let answers = ["1.1.1.1", next].map(|text| text.parse().unwrap());
            let resolver = FilteredResolver::new(Arc::new(Changing(Mutex::new(answers.into()))), false);
            let name = || "hooks.example".parse().unwrap();
            assert!(resolver.resolve(name()).await.is_ok());
            let refused = resolver.resolve(name()).await.err().expect("the second look-up is refused");
            assert!(refused.is::<Refused>(), "{next}: {refused}");
        }
    }
}
