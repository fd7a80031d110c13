//! What has happened in a world: every call and its answer, and all that every stream has shown. What the invariants
//! judge.

use super::{
    faults::{CALL_LIMIT, Fault, LATE, RECOVERY},
    judge::LEAVE_MEMORY,
    lags::Lags,
    plan::{Call, Millis, Plan, What},
};

#[derive(Default)]
pub struct History {
    pub calls: Vec<Called>,
    pub streams: Vec<Stream>,
    /// The store's own counts, now and then.
    pub counts: Vec<Counted>,
    /// What nodes said is live.
    pub lists: Vec<Listed>,
    /// How much nodes and the store kept, now and then.
    pub kept: Vec<Kept>,
    /// How many calls have begun, where calls are not given up.
    pub begun: usize,
    /// When which fault was there.
    pub faults: Vec<Window>,
    /// What the machine held up.
    pub lags: Lags,
    /// What must never be seen and was, in words.
    pub oddities: Vec<(Millis, String)>,
    /// What was left when everything was over, in words.
    pub leftovers: Vec<String>,
}

/// The store's own count of a channel, asked for and answered.
#[derive(Debug)]
pub struct Counted {
    pub at: Millis,
    pub answered: Millis,
    pub channel: u64,
    pub count: u32,
}

/// The list of live channels, as a node gave it.
#[derive(Debug)]
pub struct Listed {
    pub node: usize,
    pub at: Millis,
    pub answered: Millis,
    /// The channels that honest viewers watch; `None`: it was said to be unknown.
    pub counts: Option<Vec<(u64, Shown)>>,
}

/// How much is kept at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub at: Millis,
    /// By which node; `None`: by the store.
    pub node: Option<usize>,
    /// Sessions that are remembered. (Viewers, by the store.)
    pub sessions: usize,
    /// Sessions that limits remember.
    pub admitted: usize,
    pub channels: usize,
}

#[derive(Debug)]
pub struct Called {
    /// With the node that it came to.
    pub call: Call,
    pub at: Millis,
    /// `None`: the node ended meanwhile.
    pub answer: Option<(Millis, Answer)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Refused,
    Left,
    Beaten { active: bool, shown: Shown },
}

/// A count as it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub value: Option<u32>,
    pub stale: bool,
}

impl Shown {
    /// The number, if it is said to be the number of this moment.
    pub const fn live(self) -> Option<u32> {
        if self.stale { None } else { self.value }
    }
}

/// A stream of one channel, from its opening on one node to its end.
#[derive(Debug)]
pub struct Stream {
    pub node: usize,
    pub channel: u64,
    pub opened: Millis,
    pub closed: Millis,
    /// Each count and tick (`None`) and when it came.
    pub seen: Vec<(Millis, Option<Shown>)>,
}

/// When a fault is there.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from: Millis,
    pub to: Millis,
    pub fault: Fault,
}

impl Window {
    pub const fn holds(&self, at: Millis) -> bool {
        self.from <= at && at < self.to
    }
}

/// The faults of a plan.
pub fn windows(plan: &Plan) -> Vec<Window> {
    let window = |action: &super::plan::Action| match action.what {
        What::Fault { fault, lasts } => Some(Window { from: action.at, to: action.at + lasts, fault }),
        _ => None,
    };
    plan.actions.iter().filter_map(window).collect()
}

/// What faults excuse.
pub struct Excuses {
    pub faults: Vec<Window>,
    /// For how long a call may wait for a new connection.
    mend: Millis,
}

impl Excuses {
    /// Those of a history. Where the machine held things up for long, calls were late by no fault of ours.
    pub fn of(history: &History, mend: Millis) -> Self {
        let starved = history.lags.starved();
        let starved = starved.into_iter().map(|(from, to)| Window { from, to, fault: Fault::Starved });
        Self { faults: history.faults.iter().copied().chain(starved).collect(), mend }
    }

    /// Whether between these instants, or so shortly before that it may not be over yet, the node met a fault.
    pub fn is_troubled(&self, node: usize, from: Millis, to: Millis) -> bool {
        self.faults.iter().any(|w| w.fault.touches(node) && w.from <= to && from <= w.to + RECOVERY)
    }

    /// Whether beside this fault the node met another.
    pub fn is_doubly_troubled(&self, node: usize, one: &Window) -> bool {
        let is_other = |w: &&Window| w.fault != one.fault && w.fault.touches(node);
        self.faults.iter().filter(is_other).any(|w| w.from <= one.to && one.from <= w.to + RECOVERY)
    }

    /// Whether some time between these instants a node may write beats that are so old that other nodes may remember leaves
    /// which the store has forgotten. Until all have looked, what they show of those channels is stale.
    pub fn is_written_late(&self, from: Millis, to: Millis) -> bool {
        self.faults.iter().any(|w| {
            let is_long = !w.fault.loses() && w.to - w.from + CALL_LIMIT >= LEAVE_MEMORY;
            is_long && w.from <= to && from <= w.to + RECOVERY
        })
    }

    /// Whether the node may be unable to say for [`RECOVERY`] after a loss that it has something to write again.
    pub fn is_cut_off(&self, node: usize, loss: Millis) -> bool {
        self.faults.iter().any(|w| {
            let is_mute = matches!(
                w.fault,
                Fault::Cut { .. } | Fault::Lossy { .. } | Fault::Late { .. } | Fault::Stopped { .. }
            );
            is_mute && w.fault.touches(node) && w.from <= loss + RECOVERY && loss <= w.to
        })
    }

    /// From when on what the node accepted at `at` and answered at `answered` is seen by all, at the latest.
    pub fn settled(&self, node: usize, at: Millis, answered: Millis) -> Millis {
        let mut end = answered;
        let met = |end: Millis, w: &&Window| {
            w.fault.touches(node) && !w.fault.loses() && w.from <= end && at <= w.to && w.to + RECOVERY > end
        };
        while let Some(window) = self.faults.iter().find(|w| met(end, w)) {
            end = window.to + RECOVERY;
        }
        end
    }

    /// Until when the call may have been under way, or done for the last time.
    pub fn latest(&self, node: usize, at: Millis, answered: Millis) -> Millis {
        let met = self.faults.iter().filter(|w| w.fault.touches(node) && w.from <= answered && at <= w.to);
        let until = |window: &Window| match window.fault {
            Fault::Paused | Fault::Stopped { .. } => window.to.max(answered) + CALL_LIMIT + LATE,
            Fault::Late { .. } | Fault::Lossy { .. } | Fault::Slow { .. } | Fault::Starved => {
                answered + CALL_LIMIT + LATE
            }
            // A node that knows that it reaches nobody says afterwards how long ago it was.
            Fault::Cut { .. } | Fault::Away => at + self.mend,
            _ => answered,
        };
        met.map(until).max().unwrap_or(answered)
    }
}
