//! The history of a world: every call with its response, and everything that streams have shown. The invariants check
//! it.

use super::{
    faults::{CALL_LIMIT, Fault, LATE, RECOVERY, REPLAY},
    lags::Lags,
    plan::{ActionKind, Call, Millis, Plan},
};

#[derive(Default)]
pub struct History {
    pub calls: Vec<Called>,
    pub streams: Vec<Stream>,
    /// Samples of the store's own counts.
    pub counts: Vec<Counted>,
    /// What nodes have recorded. `None` in worlds without recording.
    pub recorded: Option<Recorded>,
    /// Responses of nodes to requests for the live channels.
    pub lists: Vec<Listed>,
    /// Samples of how much nodes and the store hold.
    pub kept: Vec<Kept>,
    /// The number of calls begun, in worlds where clients have no timeout.
    pub begun: usize,
    /// The faults and their times.
    pub faults: Vec<Window>,
    /// Delays that the machine caused.
    pub lags: Lags,
    /// Descriptions of unexpected responses and events.
    pub oddities: Vec<(Millis, String)>,
    /// Descriptions of everything that was not released at the end.
    pub leftovers: Vec<String>,
}

/// A sample of the store's own count of a channel. It was requested at `at` and received at `answered`.
#[derive(Debug)]
pub struct Counted {
    pub at: Millis,
    pub answered: Millis,
    pub channel: u64,
    pub count: u32,
}

/// What nodes have recorded, merged from all of them.
#[derive(Default)]
pub struct Recorded {
    pub seconds: Vec<RecordedSecond>,
    pub figures: Vec<RecordedFigures>,
}

/// The figures of a channel over the whole time, as they are reported.
#[derive(Debug)]
pub struct RecordedFigures {
    pub channel: u64,
    /// The length of the time, in seconds.
    pub length: f64,
    /// The share of it in which the count was known.
    pub observed: f64,
    pub average: Option<f64>,
    pub watch_seconds: f64,
    pub uniques: u64,
}

/// What is kept of a second of a channel.
#[derive(Debug)]
pub struct RecordedSecond {
    /// The start of the second.
    pub at: Millis,
    pub channel: u64,
    /// Milliseconds in which the count was known.
    pub observed: Millis,
    /// The integral of the count over them.
    pub watched: u64,
    /// The lowest and the highest count.
    pub counts: Option<(u32, u32)>,
}

/// A node's list of live channels.
#[derive(Debug)]
pub struct Listed {
    pub node: usize,
    pub at: Millis,
    pub answered: Millis,
    /// Only the channels that honest viewers watch. `None`: the node answered that the list is unknown.
    pub counts: Option<Vec<(u64, Shown)>>,
}

/// How much a node or the store holds at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub at: Millis,
    /// The node; `None`: the store.
    pub node: Option<usize>,
    /// Sessions in the node's journal, or viewers in the store.
    pub sessions: usize,
    /// Sessions in the node's limits.
    pub admitted: usize,
    pub channels: usize,
}

#[derive(Debug)]
pub struct Called {
    /// The call, with the node that received it.
    pub call: Call,
    pub at: Millis,
    /// The time of the response and the response. `None`: the node was terminated before it answered.
    pub answer: Option<(Millis, Answer)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Refused,
    /// The store could not tell whether it counts the session. It may have renewed it.
    Unavailable,
    Left,
    /// The response to a join or a heartbeat.
    Beat {
        active: bool,
        shown: Shown,
    },
}

/// A count as a client received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub value: Option<u32>,
    pub stale: bool,
}

impl Shown {
    /// The count, unless it is unknown or marked stale.
    pub const fn live(self) -> Option<u32> {
        if self.stale { None } else { self.value }
    }
}

/// A stream of one channel on one node.
#[derive(Debug)]
pub struct Stream {
    pub node: usize,
    pub channel: u64,
    pub opened: Millis,
    pub closed: Millis,
    /// Each count (`Some`) or tick (`None`) and the time at which it arrived.
    pub seen: Vec<(Millis, Option<Shown>)>,
}

/// A fault and its time span.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from: Millis,
    pub to: Millis,
    pub fault: Fault,
}

impl Window {
    /// Whether the fault is active at an instant.
    pub const fn contains(&self, at: Millis) -> bool {
        self.from <= at && at < self.to
    }
}

/// The faults of a plan with their time spans.
pub fn windows(plan: &Plan) -> Vec<Window> {
    let window = |action: &super::plan::Action| match action.kind {
        ActionKind::Fault { fault, lasts } => Some(Window { from: action.at, to: action.at + lasts, fault }),
        _ => None,
    };
    plan.actions.iter().filter_map(window).collect()
}

/// The faults that excuse late, stale or missing values.
pub struct Excuses {
    pub faults: Vec<Window>,
    /// How long a call may wait for a new connection to the store.
    reconnect: Millis,
}

impl Excuses {
    /// The faults of a history, and the times at which a busy machine delayed calls.
    pub fn of(history: &History, reconnect: Millis) -> Self {
        let starved = history.lags.starved();
        let starved = starved.into_iter().map(|(from, to)| Window { from, to, fault: Fault::Starved });
        Self { faults: history.faults.iter().copied().chain(starved).collect(), reconnect }
    }

    /// Whether a fault affected the node between these instants, or ended at most [`RECOVERY`] before.
    pub fn is_troubled(&self, node: usize, from: Millis, to: Millis) -> bool {
        self.faults.iter().any(|w| w.fault.affects(node) && w.from <= to && from <= w.to + RECOVERY)
    }

    /// Whether another fault affected the node around the time of `one`.
    pub fn has_other_fault(&self, node: usize, one: &Window) -> bool {
        let is_other = |w: &&Window| w.fault != one.fault && w.fault.affects(node);
        self.faults.iter().filter(is_other).any(|w| w.from <= one.to && one.from <= w.to + RECOVERY)
    }

    /// Whether the node may be unable to announce, for [`RECOVERY`] after a loss, that it has operations to replay.
    pub fn is_cut_off(&self, node: usize, loss: Millis) -> bool {
        self.faults.iter().any(|w| {
            let may_be_cut_off = matches!(
                w.fault,
                Fault::Cut { .. } | Fault::Lossy { .. } | Fault::Late { .. } | Fault::Stopped { .. }
            );
            may_be_cut_off && w.fault.affects(node) && w.from <= loss + RECOVERY && loss <= w.to
        })
    }

    /// The latest time at which all nodes see an operation that the node accepted at `at` and answered at `answered`. It may
    /// be `pending`: accepted before the store has it, as by a node that still writes what it has accepted during a fault.
    pub fn settled(&self, node: usize, at: Millis, answered: Millis, is_pending: bool) -> Millis {
        let mut end = answered;
        let replay = if is_pending { REPLAY } else { 0 };
        let met = |end: Millis, w: &&Window| {
            w.fault.affects(node)
                && !w.fault.loses_data()
                && w.from <= end
                && at <= w.to + replay
                && w.to + RECOVERY > end
        };
        while let Some(window) = self.faults.iter().find(|w| met(end, w)) {
            end = window.to + RECOVERY;
        }
        end
    }

    /// The latest time at which the call may have taken effect.
    pub fn latest(&self, node: usize, at: Millis, answered: Millis) -> Millis {
        let met = self.faults.iter().filter(|w| w.fault.affects(node) && w.from <= answered && at <= w.to);
        let until = |window: &Window| match window.fault {
            Fault::Stopped { .. } => window.to.max(answered) + CALL_LIMIT + LATE,
            // What the store executes after a pause is dated to when it was sent.
            Fault::Paused => answered + CALL_LIMIT,
            Fault::Late { .. } | Fault::Lossy { .. } | Fault::Slow { .. } | Fault::Starved => {
                answered + CALL_LIMIT + LATE
            }
            // A node without a connection backdates the operation when it writes it later.
            Fault::Cut { .. } | Fault::Away => at + self.reconnect,
            _ => answered,
        };
        met.map(until).max().unwrap_or(answered)
    }
}
