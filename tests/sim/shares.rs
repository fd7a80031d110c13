//! The shares of nodes in the parts of the channels, as the simulated store keeps them.

use std::collections::BTreeMap;

use aforo::{
    domain::{ChannelId, Timestamp},
    server::store::{Claim, Share},
};

/// The shares.
#[derive(Default)]
pub struct Shares {
    /// Until when each node takes part.
    nodes: BTreeMap<u64, Timestamp>,
    /// The owner of each part.
    owners: BTreeMap<u16, u64>,
}

impl Shares {
    /// Renews the share of a node.
    pub fn renew(&mut self, claim: &Claim, now: Timestamp) -> Share {
        self.nodes.retain(|_, until| *until > now);
        if claim.lease.is_zero() {
            self.nodes.remove(&claim.node);
        } else {
            self.nodes.insert(claim.node, now + claim.lease);
        }
        let nodes = &self.nodes;
        self.owners.retain(|_, owner| nodes.contains_key(owner));
        if claim.lease.is_zero() {
            return Share::Parts(Vec::new());
        }
        let fair = usize::from(ChannelId::PARTS).div_ceil(self.nodes.len());
        let mut own: Vec<u16> =
            self.owners.iter().filter(|(_, owner)| **owner == claim.node).map(|(part, _)| *part).collect();
        for released in own.split_off(fair.min(own.len())) {
            self.owners.remove(&released);
        }
        let free: Vec<u16> = (0..ChannelId::PARTS).filter(|part| !self.owners.contains_key(part)).collect();
        own.extend(free.into_iter().take(fair.saturating_sub(own.len())));
        for part in &own {
            self.owners.insert(*part, claim.node);
        }
        Share::Parts(own)
    }
}
