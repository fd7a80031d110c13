//! What the statistics page shows.

use crate::{
    domain::{Count, Timestamp},
    server::history::{Figures, Point, Zone},
};

/// A span of time that the page can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// A broadcast.
    Broadcast,
    /// The last 24 hours.
    Day,
    /// The last 7 days.
    Week,
    /// The last 30 days.
    Month,
}

impl Range {
    /// Every range.
    pub const ALL: [Self; 4] = [Self::Broadcast, Self::Day, Self::Week, Self::Month];

    /// The name in addresses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    /// The range of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|range| range.as_str() == name)
    }

    /// The length in days. `None` for a broadcast.
    #[must_use]
    pub const fn days(self) -> Option<u64> {
        match self {
            Self::Broadcast => None,
            Self::Day => Some(1),
            Self::Week => Some(7),
            Self::Month => Some(30),
        }
    }
}

/// What the visitor has asked for. What was not valid is left out.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The range; by default the present broadcast, or else the last 24 hours.
    pub range: Option<Range>,
    /// The start of an earlier broadcast.
    pub broadcast: Option<Timestamp>,
    /// The broadcasts listed are those that started before.
    pub before: Option<Timestamp>,
    /// The time zone; by default UTC.
    pub zone: Option<String>,
    /// The token of the link.
    pub token: Option<String>,
}

/// The statistics of a channel, for a visitor who may see them.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// The viewers now.
    pub count: Count,
    /// The time of the store.
    pub now: Timestamp,
    /// The time zone of all times on the page.
    pub zone: Zone,
    /// What the visitor has asked for.
    pub asked: Asked,
    /// What is kept; `None` if the database does not answer.
    pub kept: Option<Kept>,
}

/// What is kept of a channel.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The newest broadcast.
    pub newest: Option<Figures>,
    /// The range that is shown.
    pub shown: Option<Shown>,
    /// Broadcasts, newest first.
    pub broadcasts: Vec<Figures>,
    /// Whether there are older ones.
    pub has_older: bool,
}

/// A range with its history.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Which one.
    pub range: Range,
    /// Whether a broadcast is the newest one.
    pub is_newest: bool,
    /// The start.
    pub from: Timestamp,
    /// The end.
    pub to: Timestamp,
    /// The length of a step in seconds.
    pub step: u64,
    /// The figures of the range.
    pub figures: Figures,
    /// The steps.
    pub points: Vec<Point>,
}

impl Shown {
    /// Whether the range goes on.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        match self.range {
            Range::Broadcast => self.figures.ended_at.is_none(),
            Range::Day | Range::Week | Range::Month => true,
        }
    }
}
