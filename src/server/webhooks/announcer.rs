//! Puts events into the outbox. Each node does it for the channels that it owns, from what the database has. So an event
//! that one node has noticed and not announced is announced by the next owner.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    event::{Subject, event},
    rules::{Happening, Known, follow},
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        clock::Clock,
        database::{Announcement, Archive, Batch, Open, Outbox},
        history::{Broadcast, Figures, Minute, Peak, broadcast::GRACE},
        recording::Recorder,
        store_error::StoreError,
    },
};

/// The longest wait for the recorder's next write.
const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// The shortest pause between two rounds over all broadcasts. While no ends are left, a round takes at most a fifth of the
/// time.
const ROUND_PAUSE: Duration = Duration::from_secs(3);

/// How long a round announces ends. Then milestones and peaks come first again.
const ENDS_LIMIT: Duration = Duration::from_secs(1);

/// The ends whose figures are read at once: a part of the connections to the database.
const ENDS_AT_ONCE: usize = 3;

/// The pause between two searches for broadcasts that began before there were webhooks.
const SEARCH_PAUSE: Duration = Duration::from_secs(60);

/// The broadcasts that are new to this node, or have ended, whose figures are read before anything is announced.
const MAX_FIGURES: usize = 50;

/// How long a round reads the figures of broadcasts that are new to this node.
const LEARN_LIMIT: Duration = Duration::from_millis(250);

/// The most announcements of one transaction.
pub(super) const BATCH: usize = 100;

/// How far back the minutes of a round reach.
const RECENT: Duration = Duration::from_secs(180);

/// How long after its start the database has all of a minute.
const RECENT_MINUTE: Duration = Duration::from_secs(61);

/// How long before the start a peak may have been recorded: the owner notices the first viewer with its next sample. A live
/// signal says when it began.
const EARLY: Duration = Duration::from_secs(5);

/// How long the announcement of a broadcast waits for the end of the earlier one of its channel. That end comes as soon as the
/// database knows all of it, except if its rows are damaged.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long after the last sample that is in the database its counts may be.
const SAMPLE: Duration = Duration::from_secs(1);

/// Announces what happens to the channels of this node.
pub(super) struct Announcer {
    pub(super) outbox: Outbox,
    pub(super) archive: Archive,
    pub(super) recorder: Recorder,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) milestones: Vec<u32>,
    /// The hashes of the receivers.
    pub(super) receivers: Vec<String>,
    /// Told when events were added.
    pub(super) added: watch::Sender<()>,
    /// The size of the transactions.
    pub(super) batch: Batch,
}

/// The peaks of the open broadcasts.
type Peaks = HashMap<(ChannelId, Timestamp), KnownPeak>;

/// What this node knows of the peak of a broadcast.
#[derive(Debug, Clone, Copy, Default)]
struct KnownPeak {
    peak: Option<Peak>,
    /// Whether it is the peak of the whole broadcast, and not only of the last minutes.
    is_whole: bool,
    /// Up to when the database knew the broadcast when its figures were read.
    read_to: Timestamp,
}

impl Announcer {
    /// Announces forever.
    pub(super) async fn run(&self) {
        let mut peaks = Peaks::new();
        let (mut next_round, mut next_search) = (Instant::now(), Instant::now());
        let mut are_ends_left = false;
        loop {
            let until_round = next_round.saturating_duration_since(Instant::now());
            let limit = if are_ends_left { until_round.min(WAIT_LIMIT) } else { WAIT_LIMIT };
            let _nothing_new = timeout(limit, self.recorder.progress().written()).await;
            let parts = self.recorder.ownership().parts();
            let announced = async {
                if Instant::now() >= next_search && self.search(&parts).await? {
                    next_search = Instant::now() + SEARCH_PAUSE;
                }
                self.announce_beginnings(&parts).await?;
                if Instant::now() >= next_round {
                    let began = Instant::now();
                    let result = self.round(&parts, &mut peaks).await;
                    let took = began.elapsed();
                    are_ends_left = matches!(result, Ok(true));
                    // Ends that are left follow soon, but others can use the database as long as they did.
                    let pause = if are_ends_left { took } else { ROUND_PAUSE.max(took * 4) };
                    next_round = Instant::now() + pause;
                    result?;
                }
                Ok::<_, StoreError>(())
            };
            if let Err(error) = announced.await {
                tracing::debug!(%error, "events not announced; retrying later");
                are_ends_left = false;
            }
        }
    }

    /// Registers broadcasts that were on air when there were no webhooks yet, after those of nodes that were killed have
    /// their end. Returns whether this node knows enough for it.
    async fn search(&self, parts: &[u16]) -> Result<bool, StoreError> {
        let Some(settled) = self.settled(parts) else { return Ok(false) };
        while self.archive.lengthen_abandoned(settled).await? {}
        self.archive.register_present(parts, settled - GRACE).await?;
        Ok(true)
    }

    /// Announces broadcasts that have begun.
    async fn announce_beginnings(&self, parts: &[u16]) -> Result<(), StoreError> {
        let mut announcements = Vec::new();
        for open in without_merged(self.outbox.open_new(parts, self.patient_from()).await?).0 {
            if let Some(broadcast) = open.broadcast {
                let known = Known { broadcast, peak: None, settled: None };
                announcements.extend(self.announcement(open, &known, None));
            }
        }
        self.announce(&announcements).await
    }

    /// Announces all that follows from the open broadcasts: milestones and peaks, and then ends for a moment. Returns
    /// whether ends are left.
    async fn round(&self, parts: &[u16], peaks: &mut Peaks) -> Result<bool, StoreError> {
        // Before anything is read: what is read then is as new as this at least.
        let progress = self.recorder.progress();
        let settled: HashMap<u16, Timestamp> =
            parts.iter().filter_map(|part| Some((*part, progress.settled(*part)?))).collect();
        let (open, obsolete) = without_merged(self.outbox.open(parts).await?);
        for open in obsolete {
            self.outbox.forget(&open).await?;
        }
        self.learn_peaks(parts, &open, peaks, &settled).await?;
        let (mut announcements, mut ended) = (Vec::new(), Vec::new());
        let (patient_from, mut earlier) = (self.patient_from(), None);
        for open in open {
            let Some(broadcast) = open.broadcast else { continue };
            // The end of the earlier broadcast of the channel comes first.
            if earlier.replace(open.channel.clone()).as_ref() == Some(&open.channel)
                && open.first_start >= patient_from
            {
                continue;
            }
            let settled = settled.get(&open.channel.part()).copied();
            if let Some(settled) = settled.filter(|settled| broadcast.ended_at(*settled).is_some()) {
                ended.push((open, broadcast, settled));
                continue;
            }
            let KnownPeak { peak, is_whole, .. } = peaks.get(&key(&open)).copied().unwrap_or_default();
            let known = Known { broadcast, peak, settled: settled.filter(|_| is_whole) };
            announcements.extend(self.announcement(open, &known, None));
        }
        self.announce(&announcements).await?;
        self.announce_ends(ended).await
    }

    /// Announces ends for a moment, the earliest first. Each comes with the time up to which its part is known. Returns
    /// whether ends are left.
    async fn announce_ends(&self, mut ended: Vec<(Open, Broadcast, Timestamp)>) -> Result<bool, StoreError> {
        ended.sort_by_key(|(_, broadcast, _)| broadcast.last_on_air);
        let (began, mut ended) = (Instant::now(), ended.into_iter().peekable());
        while ended.peek().is_some() && began.elapsed() < ENDS_LIMIT {
            let some = stream::iter(ended.by_ref().take(MAX_FIGURES));
            let ends = some.map(|(open, broadcast, settled)| self.end(open, broadcast, settled));
            let announcements: Vec<Option<Announcement>> = ends.buffered(ENDS_AT_ONCE).try_collect().await?;
            let announcements: Vec<Announcement> = announcements.into_iter().flatten().collect();
            self.announce(&announcements).await?;
        }
        Ok(ended.peek().is_some())
    }

    /// The announcement of the end of a broadcast. Its peak is that of its figures, so no milestone is missed.
    async fn end(
        &self,
        open: Open,
        broadcast: Broadcast,
        settled: Timestamp,
    ) -> Result<Option<Announcement>, StoreError> {
        match self.archive.figures_of(&open.channel, broadcast, settled).await {
            Ok(figures) => {
                let peak = peak_of(&figures);
                let known = Known { broadcast, peak, settled: Some(settled) };
                Ok(self.announcement(open, &known, Some(&figures)))
            }
            Err(error @ StoreError::Refused(_)) => {
                tracing::debug!(%error, channel = %open.channel, "the end of a broadcast is not announced yet");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Brings the peaks of open broadcasts up to date.
    async fn learn_peaks(
        &self,
        parts: &[u16],
        open: &[Open],
        peaks: &mut Peaks,
        settled_of: &HashMap<u16, Timestamp>,
    ) -> Result<(), StoreError> {
        let keys: HashSet<_> = open.iter().map(key).collect();
        peaks.retain(|key, _| keys.contains(key));
        let Some(settled) = settled_of.values().min().copied() else { return Ok(()) };
        // The minutes first: what is merged between the two reads is in the figures then.
        let recent = self.archive.recent_peaks(parts, settled - RECENT).await?;
        let early = if self.archive.is_with_signals() { Duration::ZERO } else { EARLY };
        let mut by_channel = HashMap::<&ChannelId, Vec<&Open>>::new();
        for open in open {
            peaks.entry(key(open)).or_default();
            by_channel.entry(&open.channel).or_default().push(open);
        }
        let of_channel = |channel: &ChannelId| by_channel.get(channel).into_iter().flatten().copied();
        for (channel, peak) in &recent {
            for open in of_channel(channel).filter(|open| hides(*peak, open, early)) {
                let known = peaks.get_mut(&key(open));
                // Figures that were read later have the whole minute.
                let known = known.filter(|known| known.read_to < Minute::start_of(peak.at) + RECENT_MINUTE);
                if let Some(known) = known {
                    known.is_whole = false;
                }
            }
        }
        let began = Instant::now();
        // Those that are over have their peak with their figures.
        let is_over = |open: &Open| {
            let settled = settled_of.get(&open.channel.part());
            open.broadcast
                .zip(settled)
                .is_some_and(|(broadcast, settled)| broadcast.ended_at(*settled).is_some())
        };
        let is_new =
            |open: &&Open| !is_over(open) && peaks.get(&key(open)).is_some_and(|known| !known.is_whole);
        let mut new: Vec<_> = open.iter().filter(is_new).cloned().collect();
        // Those that were read longest ago first, so that no channel waits for the same others in each round.
        new.sort_by_cached_key(|open| peaks.get(&key(open)).map(|known| known.read_to));
        new.truncate(MAX_FIGURES);
        for (open, broadcast) in new.iter().filter_map(|open| Some((open, open.broadcast?))) {
            let peak = match self.archive.figures_of(&open.channel, broadcast, settled).await {
                Ok(figures) => peak_of(&figures),
                Err(error @ StoreError::Refused(_)) => {
                    tracing::debug!(%error, channel = %open.channel, "the peak of a broadcast can't be read");
                    None
                }
                Err(error) => return Err(error),
            };
            if let Some(known) = peaks.get_mut(&key(open)) {
                let peak = Peak::highest(known.peak, peak);
                *known = KnownPeak { peak, is_whole: true, read_to: settled };
            }
            if began.elapsed() > LEARN_LIMIT {
                break;
            }
        }
        for (channel, peak) in recent {
            let settled = settled_of.get(&channel.part()).copied().unwrap_or_default();
            for open in of_channel(&channel).filter(|open| has(open, peak, settled, early)) {
                if let Some(known) = peaks.get_mut(&key(open)) {
                    known.peak = Peak::highest(known.peak, Some(peak));
                }
            }
        }
        Ok(())
    }

    /// The announcement that follows from what is known of a broadcast, if there is one. An end has its figures.
    fn announcement(&self, open: Open, known: &Known, figures: Option<&Figures>) -> Option<Announcement> {
        let (happenings, announced) = follow(&open.announced, known, &self.milestones);
        if happenings.is_empty() {
            return None;
        }
        let subject = Subject {
            channel: &open.channel,
            first_start: open.first_start,
            started_at: known.broadcast.started_at,
        };
        let events =
            happenings.iter().map(|happening: &Happening| event(&subject, happening, figures)).collect();
        Some(Announcement { open, announced, events })
    }

    /// Broadcasts that began after this wait for the end of the earlier one of their channel.
    fn patient_from(&self) -> Timestamp {
        self.recorder.now() - PATIENCE
    }

    async fn announce(&self, announcements: &[Announcement]) -> Result<(), StoreError> {
        let mut rest = announcements;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(self.batch.size().min(rest.len()));
            let announced = self.outbox.announce(batch, &self.receivers, self.clock.now());
            if self.batch.run(batch.len(), announced).await? > 0 {
                self.added.send_replace(());
            }
            rest = later;
        }
        Ok(())
    }

    /// Up to which instant the database knows all of these parts, as far as this node has brought it there.
    fn settled(&self, parts: &[u16]) -> Option<Timestamp> {
        parts.iter().filter_map(|part| self.recorder.progress().settled(*part)).min()
    }
}

/// Whether a peak is one of this broadcast. `settled`: up to which instant the database knew who was on air, before the
/// broadcast and the peak were read. `early`: how long before the start the peak may have been recorded.
fn has(open: &Open, peak: Peak, settled: Timestamp, early: Duration) -> bool {
    open.broadcast.is_some_and(|Broadcast { started_at, last_on_air }| {
        // Who comes after the end is no viewer of the broadcast. A peak that is too new is read again.
        let end = if open.goes_on { last_on_air.max(settled + SAMPLE) } else { last_on_air };
        started_at <= peak.at + early && peak.at <= end
    })
}

/// Whether the peak of a minute is from before the broadcast, which began later in that minute. Then it hides the peak of the
/// broadcast in that minute, so the figures have to be read.
fn hides(peak: Peak, open: &Open, early: Duration) -> bool {
    open.broadcast.is_some_and(|Broadcast { started_at, .. }| {
        peak.at + early < started_at && Minute::start_of(peak.at) == Minute::start_of(started_at)
    })
}

fn peak_of(figures: &Figures) -> Option<Peak> {
    figures.peak.zip(figures.peak_at).map(|(count, at)| Peak { count, at })
}

fn key(open: &Open) -> (ChannelId, Timestamp) {
    (open.channel.clone(), open.first_start)
}

/// Separates the open broadcasts from those that are no longer kept, or have become a part of an earlier one. They are in
/// the order of channels and first starts.
fn without_merged(all: Vec<Open>) -> (Vec<Open>, Vec<Open>) {
    let (mut open, mut obsolete) = (Vec::<Open>::new(), Vec::new());
    for one in all {
        let is_merged = open.last().is_some_and(|last| {
            last.channel == one.channel && last.broadcast == one.broadcast && one.broadcast.is_some()
        });
        if one.broadcast.is_none() || is_merged {
            obsolete.push(one);
        } else {
            open.push(one);
        }
    }
    (open, obsolete)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use uuid::Uuid;

    use super::*;
    use crate::{
        domain::{Policy, SessionId, SessionKey, ViewerId},
        server::{
            clock::ManualClock,
            config::DatabaseConfig,
            database::{Announced, Database},
            history::Place,
            recording::simulated::SimulatedNode,
        },
    };

    /// A viewer of a channel.
    fn who(channel: &str) -> SessionKey {
        let (viewer, session) = (ViewerId::new(Uuid::new_v4()), SessionId::new(Uuid::new_v4()));
        let channel = ChannelId::parse(channel).unwrap();
        SessionKey { channel, viewer: viewer.unwrap(), session: session.unwrap() }
    }

    #[tokio::test]
    async fn many_broadcasts_that_end_together_are_announced_one_after_another_without_a_pause() {
        const ENDING: usize = 3 * MAX_FIGURES;
        let folder = TempDir::new().unwrap();
        let file = DatabaseConfig::Sqlite(folder.path().join("aforo.db"));
        let database = Database::open(&file).await.unwrap();
        let start = Timestamp::from_millis(1_790_000_040_000);
        let at = |seconds| start + Duration::from_secs(seconds);
        let node = SimulatedNode::new(&database, Policy::default(), start, Duration::from_secs(4));
        let announcer = Announcer {
            outbox: Outbox::new(database.clone()),
            archive: Archive::new(database).announcing(),
            recorder: node.recorder().clone(),
            clock: Arc::new(ManualClock::new(at(430))),
            milestones: vec![1],
            receivers: vec!["one".to_owned()],
            added: watch::Sender::new(()),
            batch: Batch::new(BATCH),
        };
        let parts: Vec<u16> = (0..ChannelId::PARTS).collect();
        for nth in 0..ENDING {
            node.join(&who(&format!("c{nth}")), Place::Site).await.unwrap();
        }
        node.advance_to(at(10)).await.unwrap();
        assert!(announcer.search(&parts).await.unwrap());
        // Their leases end after a minute.
        node.advance_to(at(420)).await.unwrap();
        node.join(&who("ana"), Place::Site).await.unwrap();
        node.advance_to(at(430)).await.unwrap();
        assert!(announcer.search(&parts).await.unwrap());

        let mut peaks = Peaks::new();
        let mut rounds = 1;
        while announcer.round(&parts, &mut peaks).await.unwrap() {
            rounds += 1;
            assert!(rounds <= ENDING / MAX_FIGURES, "each round announces some");
        }
        let open = announcer.outbox.open(&parts).await.unwrap();
        assert_eq!(open.iter().map(|open| open.channel.as_str()).collect::<Vec<_>>(), ["ana"]);
        assert_eq!(open[0].announced.milestone, 1);
        // Of each: on air, the milestone, the peak, off air, the end.
        let waiting = announcer.outbox.backlog(&parts, "one").await.unwrap();
        assert_eq!(waiting.events, u64::try_from(5 * ENDING + 2).unwrap());
    }

    /// A receiver that mirrors what it is told must end with the present state.
    #[tokio::test]
    async fn the_end_of_a_broadcast_is_announced_before_the_next_one_of_its_channel() {
        let folder = TempDir::new().unwrap();
        let database = Database::open(&DatabaseConfig::Sqlite(folder.path().join("aforo.db"))).await.unwrap();
        let start = Timestamp::from_millis(1_790_000_040_000);
        let at = |seconds| start + Duration::from_secs(seconds);
        let node = SimulatedNode::new(&database, Policy::default(), start, Duration::from_secs(4));
        let announcer = Announcer {
            outbox: Outbox::new(database.clone()),
            archive: Archive::new(database.clone()).announcing(),
            recorder: node.recorder().clone(),
            clock: Arc::new(ManualClock::new(at(430))),
            milestones: Vec::new(),
            receivers: vec!["one".to_owned()],
            added: watch::Sender::new(()),
            batch: Batch::new(BATCH),
        };
        let parts: Vec<u16> = (0..ChannelId::PARTS).collect();
        let mut peaks = Peaks::new();
        // The lease of the first viewer ends after a minute, and the second one comes more than five minutes later.
        for (joins, until) in [(true, 10), (false, 361), (true, 365), (false, 380)] {
            if joins {
                node.join(&who("ana"), Place::Site).await.unwrap();
            }
            node.advance_to(at(until)).await.unwrap();
            assert!(announcer.search(&parts).await.unwrap());
            announcer.announce_beginnings(&parts).await.unwrap();
            if until == 10 || until == 380 {
                announcer.round(&parts, &mut peaks).await.unwrap();
                announcer.announce_beginnings(&parts).await.unwrap();
            }
        }
        let bodies = sqlx::query_scalar::<_, String>("SELECT body FROM deliveries ORDER BY number");
        let bodies = bodies.fetch_all(database.pool()).await.unwrap();
        let kind = |body: &String| {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            body["type"].as_str().unwrap().to_owned()
        };
        let kinds: Vec<_> = bodies.iter().map(kind).filter(|kind| kind != "channel.peak").collect();
        assert_eq!(kinds, ["channel.live", "channel.offline", "broadcast.ended", "channel.live"]);
    }

    fn open(channel: &str, first_start: u64, broadcast: Option<(u64, u64)>) -> Open {
        let at = Timestamp::from_millis;
        Open {
            channel: ChannelId::parse(channel).unwrap(),
            first_start: at(first_start),
            announced: Announced::default(),
            broadcast: broadcast.map(|(from, to)| Broadcast { started_at: at(from), last_on_air: at(to) }),
            goes_on: false,
        }
    }

    #[test]
    fn a_peak_after_the_end_is_not_one_of_the_broadcast() {
        let ended = open("ana", 100_000, Some((100_000, 125_000)));
        let goes_on = Open { goes_on: true, ..ended.clone() };
        let peak = |at| Peak { count: 9, at: Timestamp::from_millis(at) };
        let of =
            |open: &Open, at: u64, settled: u64| has(open, peak(at), Timestamp::from_millis(settled), EARLY);
        assert_eq!(
            [94_000, 96_000, 125_000, 126_000, 133_000].map(|peak| of(&ended, peak, 140_000)),
            [false, true, true, false, false]
        );
        // The end of a broadcast that goes on is written twice a minute.
        assert_eq!([126_000, 140_500, 142_000].map(|peak| of(&goes_on, peak, 140_000)), [true, true, false]);
        assert!(of(&goes_on, 125_000, 90_000), "another node has brought it there");
        let with_signal = |at| has(&goes_on, peak(at), Timestamp::from_millis(140_000), Duration::ZERO);
        assert_eq!([99_999, 100_000].map(with_signal), [false, true], "a signal says when it began");
        // Minutes begin at 60 s and at 120 s.
        let hidden = |at| hides(peak(at), &goes_on, Duration::ZERO);
        assert_eq!([59_999, 60_000, 99_999, 100_000].map(hidden), [false, true, true, false]);
    }

    #[test]
    fn a_broadcast_that_was_merged_keeps_its_earliest_identity() {
        let all = vec![
            open("ana", 1_000, Some((900, 9_000))),
            open("ana", 5_000, Some((900, 9_000))),
            open("ana", 99_000, Some((99_000, 99_500))),
            open("bob", 1_000, None),
            open("eva", 1_000, Some((900, 9_000))),
        ];
        let (kept, obsolete) = without_merged(all);
        let of = |all: Vec<Open>| {
            all.iter()
                .map(|open| (open.channel.to_string(), open.first_start.as_millis()))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(kept), [("ana".into(), 1_000), ("ana".into(), 99_000), ("eva".into(), 1_000)]);
        assert_eq!(of(obsolete), [("ana".into(), 5_000), ("bob".into(), 1_000)]);
    }
}
