//! What is shown of a node: its last answers, rates between them, and the channels in the chosen order. Pure: times are
//! given, as time since the start.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    fmt,
    time::Duration,
};

use super::scrape::{Scrape, Span};
use crate::domain::{ChannelId, CountUpdate};

/// The most channels that a node lists.
pub(super) const MAX_CHANNELS: usize = 1_000;

/// How long the last list of channels is shown after the node has ceased to give one.
const LIST_MAX_AGE: Duration = Duration::from_secs(60);

/// The span of the changes of counts.
const CHANGE_SPAN: Duration = Duration::from_secs(60);

/// The time between two lists that are kept for the changes.
const CHANGE_STEP: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing accepts connections there.
    NoConnection,
    /// The answer took too long.
    Timeout,
    /// The connection broke.
    Broken,
    /// An error status.
    Status(u16),
    /// The answer is not one of Aforo.
    NotAforo,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection => f.write_str("no connection"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Broken => f.write_str("the connection broke"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::NotAforo => f.write_str("the answer is not one of Aforo"),
        }
    }
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Readiness {
    /// `ok`, `degraded` or `ending`.
    pub(super) status: String,
    /// The cause of a status other than `ok`.
    pub(super) reason: Option<String>,
}

/// The answers of a node at one time.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) readiness: Result<Readiness, Fault>,
    pub(super) scrape: Result<Scrape, Fault>,
    pub(super) channels: Result<Vec<CountUpdate>, Fault>,
}

/// Figures of the node. `None`: not known, or nothing happened that could be measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) joins: Option<f64>,
    pub(super) heartbeats: Option<f64>,
    pub(super) leaves: Option<f64>,
    pub(super) counts: Option<f64>,
    /// Calls and connections that limits and tickets have refused.
    pub(super) refusals: Option<f64>,
    pub(super) server_errors: Option<f64>,
    pub(super) streams: Option<f64>,
    pub(super) watched: Option<f64>,
    pub(super) on_air: Option<f64>,
    pub(super) is_store_up: Option<bool>,
    pub(super) store_calls: Option<f64>,
    /// In seconds, as are all durations here.
    pub(super) store_mean: Option<f64>,
    pub(super) store_p99: Option<f64>,
    pub(super) store_errors: Option<f64>,
    pub(super) is_database_up: Option<bool>,
    pub(super) database_mean: Option<f64>,
    /// Processors that are busy for the node.
    pub(super) processors: Option<f64>,
    /// In bytes.
    pub(super) memory: Option<f64>,
    pub(super) descriptors: Option<f64>,
}

impl Figures {
    fn read(now: &Scrape, span: Option<Span<'_>>) -> Self {
        let rate = |metric: &str| span.and_then(|span| span.rate(metric));
        let beats =
            |act: &str| span.and_then(|span| span.rate_of(&format!("aforo_beats_total{{act=\"{act}\"}}")));
        let is_up = |metric: &str| now.value(metric).map(|value| value > 0.0);
        let (store, database) = ("aforo_store_call_duration_seconds", "aforo_database_call_duration_seconds");
        let refusals = [rate("aforo_limit_rejections_total"), rate("aforo_ticket_rejections_total")];
        let errors = "aforo_http_responses_total{status=\"5xx\"}";
        Self {
            joins: beats("join"),
            heartbeats: beats("heartbeat"),
            leaves: beats("leave"),
            counts: rate("aforo_counts_read_total"),
            refusals: refusals.into_iter().flatten().reduce(|a, b| a + b),
            server_errors: span.and_then(|span| span.rate_of(errors)),
            streams: now.value("aforo_streams_open"),
            watched: now.value("aforo_channels_watched"),
            on_air: now.value("aforo_channels_on_air"),
            is_store_up: is_up("aforo_store_up"),
            store_calls: span.and_then(|span| span.rate_of(&format!("{store}_count"))),
            store_mean: span.and_then(|span| span.mean(store)),
            store_p99: span.and_then(|span| span.quantile(store, 0.99)),
            store_errors: rate("aforo_store_errors_total"),
            is_database_up: is_up("aforo_database_up"),
            database_mean: span.and_then(|span| span.mean(database)),
            processors: rate("process_cpu_seconds_total"),
            memory: now.value("process_resident_memory_bytes"),
            descriptors: now.value("process_open_fds"),
        }
    }
}

/// A channel in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) channel: ChannelId,
    /// `None`: unknown.
    pub(super) count: Option<u32>,
    /// Whether the count is not current.
    pub(super) is_stale: bool,
    /// Whether the channel is on air, if that is known.
    pub(super) is_on_air: Option<bool>,
    /// How much the count has grown within a minute, or since the first list.
    pub(super) change: Option<i64>,
}

/// The order of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    /// Most viewers first.
    #[default]
    Viewers,
    /// The largest changes first, in either direction.
    Change,
    /// By name.
    Name,
}

impl Order {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Viewers => "viewers",
            Self::Change => "change",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Viewers => Self::Change,
            Self::Change => Self::Name,
            Self::Name => Self::Viewers,
        }
    }
}

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Sort,
}

/// What is shown.
pub(super) struct Top {
    node: String,
    now: Duration,
    /// When the node ceased to answer, and why.
    outage: Option<(Duration, Fault)>,
    readiness: Option<Readiness>,
    scrape: Option<(Duration, Scrape)>,
    figures: Figures,
    /// When the list of channels was read.
    listed: Option<Duration>,
    rows: Vec<Row>,
    /// Earlier lists, for the changes, oldest first.
    past: VecDeque<(Duration, HashMap<ChannelId, u32>)>,
    order: Order,
    /// The first row on the screen.
    first: usize,
}

impl Top {
    /// Nothing is known of the node yet.
    pub(super) fn new(node: String) -> Self {
        Self {
            node,
            now: Duration::ZERO,
            outage: None,
            readiness: None,
            scrape: None,
            figures: Figures::default(),
            listed: None,
            rows: Vec::new(),
            past: VecDeque::new(),
            order: Order::default(),
            first: 0,
        }
    }

    /// Takes the answers of the node. `now` is the time since the start.
    pub(super) fn take(&mut self, sample: Sample, now: Duration) {
        self.now = now;
        let Sample { readiness, scrape, channels } = sample;
        self.outage = match (&readiness, &scrape, &channels) {
            (Err(fault), Err(_), Err(_)) => {
                Some(self.outage.map_or((now, *fault), |(since, _)| (since, *fault)))
            }
            _ => None,
        };
        self.readiness = readiness.ok();
        self.figures = scrape.as_ref().map_or_else(
            |_| Figures::default(),
            |after| {
                let span = self.scrape.as_ref().map(|(at, before)| Span {
                    before,
                    after,
                    seconds: now.saturating_sub(*at).as_secs_f64(),
                });
                Figures::read(after, span)
            },
        );
        if let Ok(scrape) = scrape {
            self.scrape = Some((now, scrape));
        }
        match channels {
            Ok(channels) => self.list(channels),
            Err(_) if self.listed.is_some_and(|at| now.saturating_sub(at) < LIST_MAX_AGE) => {
                self.rows.iter_mut().for_each(|row| row.is_stale = true);
            }
            Err(_) => {
                self.listed = None;
                self.rows.clear();
                self.past.clear();
            }
        }
    }

    fn list(&mut self, channels: Vec<CountUpdate>) {
        self.listed = Some(self.now);
        while self.past.front().is_some_and(|(at, _)| self.now.saturating_sub(*at) > CHANGE_SPAN) {
            self.past.pop_front();
        }
        let before = self.past.front().map(|(_, counts)| counts);
        let change = |channel: &ChannelId, count: Option<u32>| {
            let before = before?;
            // A channel that was not listed had no viewers, unless the list was full.
            let earlier =
                before.get(channel).copied().or_else(|| (before.len() < MAX_CHANNELS).then_some(0))?;
            Some(i64::from(count?) - i64::from(earlier))
        };
        self.rows = channels
            .iter()
            .take(MAX_CHANNELS)
            .map(|update| Row {
                channel: update.channel_id.clone(),
                count: update.count,
                is_stale: update.stale,
                is_on_air: update.live,
                change: change(&update.channel_id, update.count),
            })
            .collect();
        if self.past.back().is_none_or(|(at, _)| self.now.saturating_sub(*at) >= CHANGE_STEP) {
            let counts = self.rows.iter().filter_map(|row| Some((row.channel.clone(), row.count?)));
            self.past.push_back((self.now, counts.collect()));
        }
        self.sort();
    }

    /// Sorts the rows. Equal rows are in the order of their names.
    fn sort(&mut self) {
        let order = self.order;
        self.rows.sort_by(|a, b| {
            let by_name = a.channel.cmp(&b.channel);
            match order {
                Order::Viewers => Reverse(a.count).cmp(&Reverse(b.count)).then(by_name),
                Order::Change => {
                    let size = |row: &Row| Reverse(row.change.map(i64::unsigned_abs));
                    size(a).cmp(&size(b)).then(by_name)
                }
                Order::Name => by_name,
            }
        });
    }

    /// Does what the user asks for. `page` is the number of rows on the screen.
    pub(super) fn obey(&mut self, command: Command, page: usize) {
        let last = self.rows.len().saturating_sub(page);
        let first = self.first.min(last);
        self.first = match command {
            Command::Up => first.saturating_sub(1),
            Command::Down => first + 1,
            Command::PageUp => first.saturating_sub(page.max(1)),
            Command::PageDown => first + page.max(1),
            Command::First => 0,
            Command::Last => last,
            Command::Sort => {
                self.order = self.order.next();
                self.sort();
                0
            }
        }
        .min(last);
    }

    /// The address of the node.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Why the node does not answer, if it does not.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.outage.map(|(_, fault)| fault)
    }

    /// For how long the node has not answered, in whole seconds.
    pub(super) fn away_seconds(&self) -> u64 {
        self.outage.map_or(0, |(since, _)| self.now.saturating_sub(since).as_secs())
    }

    /// Whether the node has been asked.
    pub(super) fn has_asked(&self) -> bool {
        self.outage.is_some() || self.readiness.is_some() || self.scrape.is_some() || self.listed.is_some()
    }

    /// The readiness of the node.
    pub(super) fn readiness(&self) -> Option<&Readiness> {
        self.readiness.as_ref()
    }

    /// The figures of the node.
    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The order of the channels.
    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// Whether the channels are known.
    pub(super) fn has_list(&self) -> bool {
        self.listed.is_some()
    }

    /// Whether the node may have more channels than it lists.
    pub(super) fn is_list_full(&self) -> bool {
        self.rows.len() >= MAX_CHANNELS
    }

    /// All channels, in order.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The sum of the counts.
    pub(super) fn viewers(&self) -> u64 {
        self.rows.iter().filter_map(|row| row.count).map(u64::from).sum()
    }

    /// The first row on a screen of `page` rows.
    pub(super) fn first(&self, page: usize) -> usize {
        self.first.min(self.rows.len().saturating_sub(page))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::{Count, Timestamp};

    /// Answers of a node with these channels and metrics.
    pub(in crate::server::top) fn sample(channels: &[(&str, u32)], metrics: &str) -> Sample {
        let update = |(channel, count): &(&str, u32)| {
            CountUpdate::new(
                ChannelId::parse(channel).unwrap(),
                Count::fresh(*count, Timestamp::from_millis(0)),
            )
        };
        Sample {
            readiness: Ok(Readiness { status: "ok".to_owned(), reason: None }),
            scrape: Ok(Scrape::parse(metrics).unwrap()),
            channels: Ok(channels.iter().map(update).collect()),
        }
    }

    /// No answer.
    pub(in crate::server::top) fn away() -> Sample {
        let fault = Fault::NoConnection;
        Sample { readiness: Err(fault), scrape: Err(fault), channels: Err(fault) }
    }

    const METRICS: &str = "aforo_store_up 1\naforo_streams_open 7\naforo_beats_total{act=\"join\"} 5\n";
    const LATER: &str = "aforo_store_up 0\naforo_streams_open 8\naforo_beats_total{act=\"join\"} 25\n";

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn names(top: &Top) -> Vec<&str> {
        top.rows().iter().map(|row| row.channel.as_str()).collect()
    }

    #[test]
    fn rates_need_two_samples() {
        let mut top = Top::new("node".to_owned());
        assert!(!top.has_asked());
        top.take(sample(&[("ana", 2)], METRICS), seconds(1));
        assert_eq!((top.figures().joins, top.figures().streams), (None, Some(7.0)));
        top.take(sample(&[("ana", 2)], LATER), seconds(3));
        assert_eq!((top.figures().joins, top.figures().is_store_up), (Some(10.0), Some(false)));
        // It has started again.
        top.take(sample(&[("ana", 2)], METRICS), seconds(4));
        assert_eq!(top.figures().joins, None);
    }

    #[test]
    fn a_node_that_is_away_has_no_figures_and_stale_counts_for_a_minute() {
        let mut top = Top::new("node".to_owned());
        top.take(sample(&[("ana", 2)], METRICS), seconds(1));
        top.take(away(), seconds(2));
        top.take(away(), seconds(9));
        assert_eq!((top.fault(), top.away_seconds()), (Some(Fault::NoConnection), 7));
        assert_eq!((top.figures(), top.readiness()), (&Figures::default(), None));
        assert!(top.rows()[0].is_stale && top.rows()[0].count == Some(2));
        top.take(away(), seconds(61));
        assert!(!top.has_list() && top.rows().is_empty());
        top.take(sample(&[("ana", 3)], LATER), seconds(62));
        assert_eq!((top.fault(), top.viewers()), (None, 3));
        assert!(!top.rows()[0].is_stale);
    }

    #[test]
    fn a_node_that_answers_in_part_is_not_away() {
        let mut top = Top::new("node".to_owned());
        let hidden = Sample { scrape: Err(Fault::Status(403)), ..sample(&[("ana", 2)], METRICS) };
        top.take(hidden, seconds(1));
        assert_eq!((top.fault(), top.viewers(), top.figures()), (None, 2, &Figures::default()));
    }

    #[test]
    fn changes_are_those_within_a_minute() {
        let mut top = Top::new("node".to_owned());
        let change = |top: &Top, name: &str| {
            top.rows().iter().find(|row| row.channel.as_str() == name).unwrap().change
        };
        top.take(sample(&[("ana", 10)], METRICS), seconds(0));
        assert_eq!(change(&top, "ana"), None);
        top.take(sample(&[("ana", 13), ("new", 4)], METRICS), seconds(30));
        assert_eq!((change(&top, "ana"), change(&top, "new")), (Some(3), Some(4)));
        top.take(sample(&[("ana", 9)], METRICS), seconds(61));
        assert_eq!(change(&top, "ana"), Some(-4));
        for second in 62..10_000 {
            top.take(sample(&[("ana", 9)], METRICS), seconds(second));
        }
        assert!(top.past.len() <= 13, "{}", top.past.len());
    }

    #[test]
    fn rows_are_sorted_and_equal_ones_are_in_the_order_of_names() {
        let mut top = Top::new("node".to_owned());
        top.take(sample(&[("b", 5), ("c", 9), ("a", 5)], METRICS), seconds(0));
        assert_eq!(names(&top), ["c", "a", "b"]);
        top.take(sample(&[("b", 1), ("c", 8), ("a", 5)], METRICS), seconds(1));
        top.obey(Command::Sort, 10);
        assert_eq!((top.order(), names(&top)), (Order::Change, vec!["b", "c", "a"]));
        top.obey(Command::Sort, 10);
        assert_eq!((top.order(), names(&top)), (Order::Name, vec!["a", "b", "c"]));
        top.take(sample(&[("c", 8), ("b", 1)], METRICS), seconds(2));
        assert_eq!(names(&top), ["b", "c"]);
    }

    #[test]
    fn the_list_scrolls_within_its_bounds() {
        let names: Vec<String> = (10..30).map(|number| format!("c{number}")).collect();
        let channels: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let mut top = Top::new("node".to_owned());
        top.take(sample(&channels, METRICS), seconds(0));
        for (command, expected) in [
            (Command::Up, 0),
            (Command::Down, 1),
            (Command::PageDown, 9),
            (Command::PageDown, 12),
            (Command::Down, 12),
            (Command::PageUp, 4),
            (Command::Last, 12),
            (Command::First, 0),
        ] {
            top.obey(command, 8);
            assert_eq!(top.first(8), expected, "{command:?}");
        }
        top.obey(Command::Last, 8);
        // A taller screen, and a shorter list.
        assert_eq!(top.first(15), 5);
        top.take(sample(&channels[..3], METRICS), seconds(1));
        assert_eq!(top.first(8), 0);
        top.obey(Command::PageDown, 0);
    }
}
