//! The history of `make demo`: an audience that comes and goes in simulated time, up to the present.
//!
//! Each channel has an earlier broadcast, a pause, and a broadcast that still goes on, so that the audience of the demo
//! continues it.

use std::time::Duration;

use uuid::Uuid;

use super::simulated::SimulatedNode;
use crate::{
    domain::{ChannelId, Policy, SessionId, SessionKey, Timestamp, ViewerId},
    server::{database::Database, history::Place, store::StoreError},
};

/// When the broadcasts begin and end, in minutes before the present.
const BROADCASTS: [(u64, u64); 2] = [(78, 52), (44, 0)];

/// The pause between two heartbeats of a viewer.
const HEARTBEAT: Duration = Duration::from_secs(27);

/// The mean time that a viewer stays, in seconds.
const STAY_SECS: u64 = 420;

/// The hosts of the pages that embed the player.
const HOSTS: [&str; 3] = ["news.example", "forum.example", "blog.example"];

/// Someone who watches.
struct Visitor {
    who: SessionKey,
    next_beat: Timestamp,
    leaves: Timestamp,
}

/// Writes the history of channels up to `until` into a database. Returns the number of viewers of each at the end. The
/// later a channel is in the list, the smaller is its audience.
///
/// # Errors
/// When the database fails.
pub async fn write(
    database: &Database,
    channels: &[ChannelId],
    until: Timestamp,
) -> Result<Vec<u32>, StoreError> {
    let before = |minutes: u64| until - Duration::from_secs(minutes * 60);
    let policy = Policy::default();
    let start = before(BROADCASTS[0].0);
    let node = SimulatedNode::new(database, policy, start, Duration::from_secs(60));
    let mut random = Random(start.as_millis());
    let mut audiences: Vec<Vec<Visitor>> = channels.iter().map(|_| Vec::new()).collect();
    while node.now() < until {
        let now = node.now();
        let present = BROADCASTS.iter().find(|(from, to)| before(*from) <= now && now < before(*to));
        for (nth, (channel, audience)) in channels.iter().zip(&mut audiences).enumerate() {
            let since = present.map(|(from, _)| now.as_millis() - before(*from).as_millis());
            let wanted = since.map_or(0, |since| wanted(nth, since / 1_000, &mut random));
            visit(&node, channel, audience, wanted, &mut random).await?;
        }
        node.advance_to(until.min(now + Duration::from_secs(1))).await?;
    }
    node.finish().await?;
    Ok(audiences.iter().map(|audience| u32::try_from(audience.len()).unwrap_or(u32::MAX)).collect())
}

/// The number of viewers of the channel with this place in the list, some seconds into a broadcast: it rises for some
/// minutes, and then comes and goes in waves.
fn wanted(nth: usize, second: u64, random: &mut Random) -> usize {
    let wave = |period: u64| second % period * 2;
    let triangle = |period: u64| wave(period).min(2 * period - wave(period)) * 100 / period;
    let level = 45 + triangle(1_500) / 3 + triangle(420) / 5 + random.below(4);
    let risen = second.min(360) * 100 / 360;
    usize::try_from(level * risen / 100).unwrap_or_default() / (1 + nth)
}

/// Lets viewers come, stay and go for a second.
async fn visit(
    node: &SimulatedNode,
    channel: &ChannelId,
    audience: &mut Vec<Visitor>,
    wanted: usize,
    random: &mut Random,
) -> Result<(), StoreError> {
    let now = node.now();
    let (mut staying, mut leaving) = (Vec::new(), Vec::new());
    for visitor in audience.drain(..) {
        if visitor.leaves <= now { leaving.push(visitor) } else { staying.push(visitor) }
    }
    // Nobody stays when a broadcast ends: who does could join the two broadcasts into one.
    let most = if wanted == 0 { 0 } else { wanted + 3 };
    leaving.extend(staying.drain(staying.len().min(most)..));
    for visitor in leaving {
        node.leave(&visitor.who).await?;
    }
    for visitor in staying.iter_mut().filter(|visitor| visitor.next_beat <= now) {
        node.heartbeat(&visitor.who).await?;
        visitor.next_beat = now + HEARTBEAT;
    }
    while staying.len() < wanted {
        let new = (ViewerId::new(Uuid::new_v4()), SessionId::new(Uuid::new_v4()));
        let (Some(viewer), Some(session)) = new else { continue };
        let who = SessionKey { channel: channel.clone(), viewer, session };
        let place = match random.below(10) {
            host @ 0..3 => HOSTS
                .get(usize::try_from(host).unwrap_or_default())
                .map_or(Place::Site, |host| Place::Embed(host)),
            _ => Place::Site,
        };
        node.join(&who, place).await?;
        let leaves = now + Duration::from_secs(10 + random.below(2 * STAY_SECS));
        staying.push(Visitor { who, next_beat: now + HEARTBEAT, leaves });
    }
    *audience = staying;
    Ok(())
}

/// Numbers that look random (`SplitMix64`).
struct Random(u64);

impl Random {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
