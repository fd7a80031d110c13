//! The invariants: each is a function that checks a history and returns the first violation.

use super::{
    archive::{observed, peaks, recorded, uniques, watched},
    bounds::{kept, limits},
    faults::{CALL_LIMIT, Fault},
    history::{Answer, Counted, Listed, Shown, Stream},
    judge::{Judge, LEAVE_MEMORY, TOLERANCE},
    model::state,
    plan::{Act, CHANNELS, Millis},
    rules::Rules,
};

/// The longest silence of a stream; then the server sends a tick.
const TICK: Millis = 25_000;

/// How long a node waits for the store's list of live channels.
const LIST_WAIT: Millis = 1_000;

/// The interval at which the values of streams are checked.
const STEP: Millis = 250;

/// A violation of an invariant.
#[derive(Debug)]
pub struct Finding {
    pub at: Millis,
    pub channel: Option<u64>,
    pub what: String,
}

type Invariant = fn(&Judge<'_>) -> Option<Finding>;

/// All invariants and their names. The headers of `tests/mutants/*.patch` refer to the names.
pub const ALL: &[(&str, Invariant)] = &[
    ("streams show the current count or mark it stale", streams),
    ("responses give the current count or mark it stale", answers),
    ("a join in a quiet channel is shown at once on its node", quick),
    ("streams are never silent for long", ticks),
    ("a channel gets at most one update per interval", updates),
    ("the live list is correct or marked stale", lists),
    ("the count in the store matches the leases", leases),
    ("responses say correctly whether a session counts", active),
    ("a counted session is never refused", refused),
    ("an address adds no more than its limits allow", limits),
    ("memory is bounded by what the limits admit", kept),
    ("no higher count is shown than is recorded", peaks),
    ("what is recorded was so", recorded),
    ("a count that is known is recorded as observed", observed),
    ("average times observed time is the watch time", watched),
    ("the distinct viewers are those who were counted", uniques),
    ("every call is answered", answered),
    ("no response or event is unexpected", no_oddities),
    ("everything is released at the end", nothing_left),
];

/// A finding in one channel.
pub fn finding(at: Millis, channel: u64, what: String) -> Option<Finding> {
    Some(Finding { at, channel: Some(channel), what })
}

/// The allowed age of the count that a stream shows.
fn age(judge: &Judge<'_>, node: usize, at: Millis) -> Millis {
    let rules = &judge.plan.rules;
    let usual = rules.interval() + rules.slack + 2 * judge.plan.nodes[node].delay + TOLERANCE;
    let longest = usual + 2 * CALL_LIMIT;
    let lag = judge.history.lags.between(at.saturating_sub(longest), at);
    let (usual, longest) = (usual + lag, longest + lag);
    let stopped = judge.excuses.faults.iter().filter(|w| w.fault == Fault::Stopped { node });
    let stopped = stopped.filter(|w| w.from <= at && at <= w.to + longest).map(|w| w.to - w.from).max();
    match stopped {
        Some(stopped) => longest + stopped,
        None if judge.excuses.is_troubled(node, at.saturating_sub(longest), at) => longest,
        None => usual,
    }
}

fn streams(judge: &Judge<'_>) -> Option<Finding> {
    judge.history.streams.iter().find_map(|stream| {
        let mut instants: Vec<Millis> = (stream.opened..stream.closed)
            .step_by(usize::try_from(STEP).unwrap())
            .chain(stream.seen.iter().map(|(at, _)| *at))
            .collect();
        instants.sort_unstable();
        instants.into_iter().find_map(|at| shows(judge, stream, at))
    })
}

/// Checks the value that a stream shows at an instant.
fn shows(judge: &Judge<'_>, stream: &Stream, at: Millis) -> Option<Finding> {
    let Stream { node, channel, opened, .. } = *stream;
    let seen = stream.seen[..stream.seen.partition_point(|(then, _)| *then <= at)].iter().rev();
    let Some(shown) = seen.clone().find_map(|(_, shown)| *shown) else {
        let waits = at - opened > age(judge, node, at);
        return if waits { finding(at, channel, format!("node {node} shows no count")) } else { None };
    };
    let from = at.saturating_sub(age(judge, node, at));
    let Some(value) = shown.live() else {
        let excused =
            judge.excuses.is_troubled(node, from, at) || judge.may_write_late_beats(channel, from, at);
        return if excused {
            None
        } else {
            finding(at, channel, format!("node {node} shows {shown:?} although no fault explains it"))
        };
    };
    if judge.may_have_been(channel, from, at, value) {
        return None;
    }
    let range = judge.between(channel, from, at);
    let what = format!(
        "node {node} shows {value} as live; the count has been {} to {} since {from}",
        range.least, range.most
    );
    finding(at, channel, what)
}

fn answers(judge: &Judge<'_>) -> Option<Finding> {
    judge.honest().find_map(|called| {
        let Some((answered, Answer::Beat { shown: Shown { value: Some(value), stale: false }, .. })) =
            called.answer
        else {
            return None;
        };
        let channel = called.call.channel;
        // A heartbeat that changes no count may get one that is as old as on a stream.
        let age = match called.call.act {
            Act::Heartbeat { .. } => age(judge, called.call.node, called.at),
            _ => 0,
        };
        let from = called.at.saturating_sub(age);
        let range = judge.between(channel, from, answered + TOLERANCE);
        let is_excused = may_have_unnoticed_loss(judge, from, answered);
        if is_excused || judge.may_have_been(channel, from, answered + TOLERANCE, value) {
            return None;
        }
        let what = format!(
            "the response to {:?} gives {value} as live; the count was {} to {}",
            called.call, range.least, range.most
        );
        finding(answered, channel, what)
    })
}

fn quick(judge: &Judge<'_>) -> Option<Finding> {
    let Rules { slack, quick, .. } = judge.plan.rules;
    judge.honest().find_map(|called| {
        let (answered, _) = called.answer?;
        let (node, channel) = (called.call.node, called.call.channel);
        let delay = judge.plan.nodes[node].delay;
        let by = answered + quick + 2 * delay;
        let by = by + judge.history.lags.between(called.at, by);
        let quiet_since = called.at.saturating_sub(2 * judge.plan.rules.interval() + slack + 4 * delay);
        let quiet_since = quiet_since.saturating_sub(judge.history.lags.between(quiet_since, called.at));
        let before = judge.between(channel, quiet_since, called.at.saturating_sub(TOLERANCE));
        let after = judge.between(channel, answered + TOLERANCE, by);
        // Concurrent calls are grouped, and may be shown later.
        let others = judge.history.calls.iter().filter(|other| {
            other.call.channel == channel
                && other.at <= by
                && other.answer.is_none_or(|(at, _)| at >= quiet_since)
        });
        if others.count() > 1 {
            return None;
        }
        let is_clear = before.least == before.most && after.least == after.most && after.least > before.most;
        let is_troubled = judge.excuses.is_troubled(node, quiet_since, by)
            || judge.may_write_late_beats(channel, quiet_since, by);
        if !is_clear || is_troubled {
            return None;
        }
        let streams = judge.history.streams.iter().filter(|stream| {
            (stream.node, stream.channel) == (node, channel)
                && stream.opened < quiet_since
                && stream.closed > by
        });
        streams
            .filter_map(|stream| {
                let seen = stream.seen[..stream.seen.partition_point(|(then, _)| *then <= by)].iter().rev();
                let shown = seen.clone().find_map(|(_, shown)| *shown)?;
                (shown.value != Some(after.least)).then_some(shown)
            })
            .find_map(|shown| {
                finding(by, channel, format!("node {node} still shows {shown:?} instead of {}", after.least))
            })
    })
}

fn ticks(judge: &Judge<'_>) -> Option<Finding> {
    judge.history.streams.iter().find_map(|stream| {
        let mut last = stream.opened;
        let times = stream.seen.iter().map(|(at, _)| *at).chain([stream.closed]);
        times.into_iter().find_map(|at| {
            let node = stream.node;
            let stops = judge.excuses.faults.iter().filter(|w| w.fault == Fault::Stopped { node });
            let stopped: Millis = stops.map(|w| w.to.min(at).saturating_sub(w.from.max(last))).sum();
            let lag = judge.history.lags.between(last, at) + stopped;
            let silent = at - std::mem::replace(&mut last, at);
            let what = || format!("a stream of node {node} was silent for {silent} ms");
            if silent > TICK + 1_000 + lag { finding(at, stream.channel, what()) } else { None }
        })
    })
}

fn updates(judge: &Judge<'_>) -> Option<Finding> {
    let rules = &judge.plan.rules;
    judge.history.streams.iter().find_map(|stream| {
        // The first update is sent when the stream opens, regardless of the interval.
        let counts: Vec<_> = stream.seen.iter().filter(|(_, shown)| shown.is_some()).skip(1).collect();
        counts.windows(2).find_map(|pair| {
            let apart = pair[1].0 - pair[0].0;
            // The first update may have been in flight for longer than the second.
            let lag = judge.history.lags.between(pair[0].0.saturating_sub(rules.interval()), pair[1].0);
            let what = || format!("two updates of node {} are {apart} ms apart", stream.node);
            if apart + rules.jitter + lag < rules.interval() {
                finding(pair[1].0, stream.channel, what())
            } else {
                None
            }
        })
    })
}

/// Whether a single channel may have been lost without any node having noticed yet. The store does not report such a
/// loss. A node that knows the channel notices the loss within one update interval after it can read the store.
fn may_have_unnoticed_loss(judge: &Judge<'_>, from: Millis, to: Millis) -> bool {
    judge.excuses.faults.iter().any(|w| {
        let can_look = |node| judge.excuses.settled(node, w.from, w.from, false);
        matches!(w.fault, Fault::Lost { .. })
            && w.from <= to
            && (0..judge.plan.nodes.len()).any(|node| from <= can_look(node) + judge.plan.rules.interval())
    })
}

fn lists(judge: &Judge<'_>) -> Option<Finding> {
    let interval = judge.plan.rules.interval();
    judge.history.lists.iter().find_map(|list| {
        let Listed { node, at, answered, .. } = *list;
        let from = at.saturating_sub(interval + LIST_WAIT + 2 * judge.plan.nodes[node].delay);
        let Some(counts) = &list.counts else {
            let is_excused = judge.excuses.is_troubled(node, from, answered)
                || judge.may_write_any_late_beats(from, answered);
            let what = format!("node {node} has no list of live channels although no fault explains it");
            return if is_excused { None } else { Some(Finding { at: answered, channel: None, what }) };
        };
        // The content of a stale list is not checked: channels that are missing in it may be unknown.
        let is_stale = counts.iter().any(|(_, shown)| shown.stale);
        if is_stale {
            let is_excused = judge.excuses.is_troubled(node, from, answered)
                || judge.may_write_any_late_beats(from, answered);
            let what = format!("node {node} gives a stale list although no fault explains it");
            return if is_excused { None } else { Some(Finding { at: answered, channel: None, what }) };
        }
        if may_have_unnoticed_loss(judge, from, answered) {
            return None;
        }
        (0..CHANNELS).find_map(|channel| {
            let listed = counts.iter().find(|(listed, _)| *listed == channel);
            let value = listed.and_then(|(_, shown)| shown.value).unwrap_or(0);
            if judge.may_have_been(channel, from, answered, value) {
                return None;
            }
            let range = judge.between(channel, from, answered);
            let what = format!(
                "node {node} lists {value} as live; the count has been {} to {} since {from}",
                range.least, range.most
            );
            finding(answered, channel, what)
        })
    })
}

fn leases(judge: &Judge<'_>) -> Option<Finding> {
    judge.history.counts.iter().find_map(|Counted { at, answered, channel, count }| {
        let from = at.saturating_sub(TOLERANCE);
        let mut nodes = 0..judge.plan.nodes.len();
        if nodes.any(|node| judge.excuses.is_troubled(node, from, *answered))
            || judge.may_have_been(*channel, from, *answered, *count)
        {
            return None;
        }
        let range = judge.between(*channel, from, *answered);
        let what = if *count < range.least { "too few viewers" } else { "too many viewers" };
        finding(
            *at,
            *channel,
            format!("{what}: the store counts {count} instead of {} to {}", range.least, range.most),
        )
    })
}

fn active(judge: &Judge<'_>) -> Option<Finding> {
    let longest = judge.plan.rules.lease(true) + LEAVE_MEMORY;
    judge.honest().find_map(|called| {
        let Some((answered, Answer::Beat { active, .. })) = called.answer else { return None };
        let call = called.call;
        let events = &judge.channels[&call.channel].0[&call.viewer][&call.session];
        let mut leaves = events.iter().filter(|event| event.lease.is_none() && event.at <= answered);
        let is_troubled = (0..judge.plan.nodes.len())
            .any(|node| judge.excuses.is_troubled(node, called.at.saturating_sub(longest), answered));
        let memory = if is_troubled { longest } else { LEAVE_MEMORY };
        // A node that was stopped writes a beat as of when it arrived. By then its lease may be over.
        let is_over = |hidden| called.at + judge.plan.rules.lease(hidden) <= answered + TOLERANCE;
        let what = match (call.act, active) {
            (Act::Join { hidden } | Act::Heartbeat { hidden }, false) if is_over(hidden) => return None,
            (Act::Join { .. }, false) if !leaves.any(|leave| leave.latest >= called.at) => {
                "a join does not count although its session has not left since"
            }
            (Act::Heartbeat { .. }, false)
                if !leaves.any(|leave| leave.latest + memory + TOLERANCE >= called.at) =>
            {
                "a heartbeat does not count although its session has not left"
            }
            (Act::Heartbeat { .. }, true) if !is_troubled => {
                let joined = |leave: Millis| {
                    judge.history.calls.iter().any(|other| {
                        let is_join = matches!(other.call.act, Act::Join { .. }) && other.at <= answered;
                        other.call.session == call.session
                            && is_join
                            && other.answer.is_none_or(|(by, _)| by >= leave)
                    })
                };
                let is_remembered =
                    |leave: Millis| leave + LEAVE_MEMORY > answered + TOLERANCE && !joined(leave);
                if !leaves.any(|leave| leave.settled <= called.at && is_remembered(leave.at)) {
                    return None;
                }
                "a heartbeat counts although its session has just left"
            }
            _ => return None,
        };
        finding(answered, call.channel, format!("{what}: {call:?}"))
    })
}

fn refused(judge: &Judge<'_>) -> Option<Finding> {
    judge.history.calls.iter().find_map(|called| {
        let Some((answered, Answer::Refused)) = called.answer else { return None };
        let call = called.call;
        let events = &judge.channels[&call.channel].0[&call.viewer][&call.session];
        let (_, may_not) = state(events, called.at);
        if may_not || judge.excuses.is_troubled(call.node, called.at, answered) {
            return None;
        }
        finding(answered, call.channel, format!("refused although its session counts: {call:?}"))
    })
}

fn answered(judge: &Judge<'_>) -> Option<Finding> {
    let waiting = judge.history.begun.saturating_sub(judge.history.calls.len());
    let what = format!("{waiting} calls were never answered");
    (waiting > 0).then_some(Finding { at: judge.plan.rules.end, channel: None, what })
}

fn no_oddities(judge: &Judge<'_>) -> Option<Finding> {
    let (at, what) = judge.history.oddities.iter().min_by_key(|(at, _)| *at)?;
    Some(Finding { at: *at, channel: None, what: what.clone() })
}

fn nothing_left(judge: &Judge<'_>) -> Option<Finding> {
    let what = judge.history.leftovers.first()?;
    Some(Finding { at: judge.plan.rules.end, channel: None, what: what.clone() })
}
