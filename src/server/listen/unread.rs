//! Unread HTTP/2 responses: what a client has asked for and not read yet.
//!
//! A client may ask for many answers on one connection and then give them no room (RFC 9113, section 6.9). hyper keeps
//! such answers for as long as the client responds to pings.
//!
//! Promises:
//! - A connection may hold [`FREE_BYTES`] of requests and answers. What exceeds that counts towards the limit of its
//!   address, and beyond the limit requests of the connection are refused. Small answers of a client that reads take no
//!   lock.
//! - An answer that waits for [`STALL_LIMIT`] is noticed, so that its connection can be closed.
//! - Event streams count for none of this: they hold one frame, and have limits of their own.
//! - Trusted proxies are exempt, because each of their connections carries many clients.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::server::limits::{Address, Concurrent, ConcurrentPermit};

/// What a connection may hold before anything counts for its address, in bytes. A client with a few calls at a time holds
/// less.
pub const FREE_BYTES: usize = 64 * 1024;

/// What the connections of an address may hold beyond that together, in bytes. A thousand browsers that load a page at once
/// hold less.
pub const ADDRESS_BYTES: u32 = 64 * 1024 * 1024;

/// What a request takes beside the body of its response, in bytes.
pub const REQUEST_BYTES: usize = 4 * 1024;

/// What it takes beyond that until its response begins, in bytes: its headers, and a body that has not arrived.
pub const HANDLING_BYTES: usize = 12 * 1024;

/// How often the connection looks for answers that wait.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a part of an answer may wait to be taken, at least. It is noticed at most [`CHECK_INTERVAL`] later.
pub const STALL_LIMIT: Duration = CHECK_INTERVAL.saturating_mul(CHECKS);

/// The checks in [`STALL_LIMIT`].
const CHECKS: u32 = 6;

/// What one connection holds.
pub struct Unread {
    /// The limit of the address. `None` for trusted proxies.
    limit: Option<(Concurrent, Address)>,
    /// The bytes that the connection holds.
    held: AtomicUsize,
    /// The checks that have been made.
    checks: AtomicUsize,
    /// The parts that wait, by the check that was the last one when they were handed over. The places are used in turn.
    waiting: [AtomicU32; CHECKS as usize + 2],
}

impl Unread {
    /// Nothing is held.
    pub fn new(limit: Option<(Concurrent, Address)>) -> Arc<Self> {
        let waiting = array::from_fn(|_| AtomicU32::new(0));
        Arc::new(Self { limit, held: AtomicUsize::new(0), checks: AtomicUsize::new(0), waiting })
    }

    /// Holds a number of bytes until the guard is dropped. `None` if the address has reached its limit.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Hold> {
        let is_free = self.held.fetch_add(bytes, Relaxed) + bytes <= FREE_BYTES;
        let permit = match &self.limit {
            Some((limit, address)) if !is_free => {
                let permit = limit.permit_of(*address, u32::try_from(bytes).unwrap_or(u32::MAX));
                if permit.is_none() {
                    self.held.fetch_sub(bytes, Relaxed);
                    return None;
                }
                permit
            }
            _ => None,
        };
        Some(Hold { unread: Arc::clone(self), bytes, _permit: permit })
    }

    /// Notes that a part of an answer waits until the guard is dropped.
    pub fn wait(self: &Arc<Self>) -> Wait {
        let place = self.checks.load(Relaxed) % self.waiting.len();
        self.waiting[place].fetch_add(1, Relaxed);
        Wait { unread: Arc::clone(self), place }
    }

    /// Whether a part of an answer has waited for [`STALL_LIMIT`]. To be called every [`CHECK_INTERVAL`].
    pub fn is_stalled(&self) -> bool {
        let checks = self.checks.fetch_add(1, Relaxed) + 1;
        // The place that is used next has the parts that wait since before the first of the last checks.
        let oldest = &self.waiting[(checks + 1) % self.waiting.len()];
        self.limit.is_some() && oldest.load(Relaxed) > 0
    }
}

/// The guard of bytes that are held.
pub struct Hold {
    unread: Arc<Unread>,
    bytes: usize,
    /// The permit of the address, if the connection held more than is free.
    _permit: Option<ConcurrentPermit>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.unread.held.fetch_sub(self.bytes, Relaxed);
    }
}

/// The guard of a part of an answer that waits.
pub struct Wait {
    unread: Arc<Unread>,
    place: usize,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.unread.waiting[self.place].fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address() -> Address {
        IpAddr::from([192, 0, 2, 1]).into()
    }

    #[test]
    fn what_exceeds_the_free_bytes_counts_for_the_address() {
        let limit = Concurrent::new(1_000);
        let connect = || Unread::new(Some((limit.clone(), address())));
        let (one, two) = (connect(), connect());
        let free = [one.hold(FREE_BYTES), two.hold(FREE_BYTES)];
        assert!(free.iter().all(Option::is_some), "free for each connection");
        let last = one.hold(5_000).expect("the last one may exceed the limit");
        assert!(one.hold(1).is_none() && two.hold(1).is_none(), "the address has reached its limit");
        let third = connect();
        assert!(third.hold(1).is_some(), "a connection that reads is served");
        drop(last);
        assert!(one.hold(1).is_some() && two.hold(1).is_some());
        drop(free);
        assert_eq!((one.held.load(Relaxed), two.held.load(Relaxed)), (0, 0));
    }

    #[test]
    fn trusted_proxies_are_exempt() {
        let proxy = Unread::new(None);
        let holds: Vec<_> = (0..100).map(|_| proxy.hold(FREE_BYTES).unwrap()).collect();
        let wait = proxy.wait();
        assert!((0..100).all(|_| !proxy.is_stalled()));
        drop((holds, wait));
    }

    #[test]
    fn a_part_that_waits_is_noticed_after_the_limit() {
        let unread = Unread::new(Some((Concurrent::new(1), address())));
        for _ in 0..20 {
            // It may be handed over right before a check, so one more check than the limit has must pass.
            let wait = unread.wait();
            for check in 0..=CHECKS {
                assert_eq!(unread.is_stalled(), check == CHECKS, "check {check}");
                // What is taken in time is not noticed.
                drop(unread.wait());
            }
            drop(wait);
            assert!(!unread.is_stalled());
        }
    }
}
