//! What must hold whatever happens. Each is a function that says where it does not.

use super::{
    bounds::{kept, limits},
    faults::{CALL_LIMIT, Fault},
    history::{Answer, Counted, Listed, Shown, Stream},
    judge::{GRID, Judge, LEAVE_MEMORY},
    model::state,
    plan::{Act, CHANNELS, Millis},
    rules::Rules,
};

/// After this long a silent stream gets a tick.
const TICK: Millis = 25_000;

/// How long a listing of what is live is waited for.
const LIST_WAIT: Millis = 1_000;

/// How often what streams show is looked at.
const STEP: Millis = 250;

/// Where an invariant does not hold.
#[derive(Debug)]
pub struct Finding {
    pub at: Millis,
    pub channel: Option<u64>,
    pub what: String,
}

type Invariant = fn(&Judge<'_>) -> Option<Finding>;

/// All of them, by name.
pub const ALL: &[(&str, Invariant)] = &[
    ("streams show the count, or say that it is old", streams),
    ("answers show the count, or say that it is old", answers),
    ("a join in a quiet channel shows at once on its node", quick),
    ("streams are never silent for long", ticks),
    ("a channel gets one update per interval", updates),
    ("the live list is right, or says that it is old", lists),
    ("the store counts leases", leases),
    ("beats are told rightly whether they count", active),
    ("who is counted is never refused", refused),
    ("an address adds what limits let it", limits),
    ("a flood leaves no more than limits let in", kept),
    ("every call is answered", answered),
    ("what is answered is an answer", no_oddities),
    ("nothing is left behind", nothing_left),
];

/// A finding in a channel.
pub fn finding(at: Millis, channel: u64, what: String) -> Option<Finding> {
    Some(Finding { at, channel: Some(channel), what })
}

/// How long what a stream shows may be old.
fn age(judge: &Judge<'_>, node: usize, at: Millis) -> Millis {
    let rules = &judge.plan.rules;
    let usual = rules.interval() + rules.slack + 2 * judge.plan.nodes[node].delay + GRID;
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

/// What a stream shows at an instant.
fn shows(judge: &Judge<'_>, stream: &Stream, at: Millis) -> Option<Finding> {
    let Stream { node, channel, opened, .. } = *stream;
    let seen = stream.seen[..stream.seen.partition_point(|(then, _)| *then <= at)].iter().rev();
    let Some(shown) = seen.clone().find_map(|(_, shown)| *shown) else {
        let waits = at - opened > age(judge, node, at);
        return if waits { finding(at, channel, format!("node {node} shows nothing")) } else { None };
    };
    let from = at.saturating_sub(age(judge, node, at));
    let Some(value) = shown.live() else {
        let excused = judge.excuses.is_troubled(node, from, at) || judge.excuses.is_written_late(from, at);
        return if excused {
            None
        } else {
            finding(at, channel, format!("node {node} shows {shown:?} without a reason"))
        };
    };
    if judge.was(channel, from, at, value) {
        return None;
    }
    let range = judge.between(channel, from, at);
    let what =
        format!("node {node} shows {value} as live; it was {} to {} from {from} on", range.least, range.most);
    finding(at, channel, what)
}

fn answers(judge: &Judge<'_>) -> Option<Finding> {
    judge.honest().find_map(|called| {
        let Some((answered, Answer::Beaten { shown: Shown { value: Some(value), stale: false }, .. })) =
            called.answer
        else {
            return None;
        };
        let channel = called.call.channel;
        let range = judge.between(channel, called.at, answered + GRID);
        let is_excused = is_lost_alone(judge, called.at, answered);
        if is_excused || judge.was(channel, called.at, answered + GRID, value) {
            return None;
        }
        let what = format!(
            "{:?} is answered with {value} as live; it was {} to {}",
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
        let before = judge.between(channel, quiet_since, called.at.saturating_sub(GRID));
        let after = judge.between(channel, answered + GRID, by);
        // Others' calls at the same time are gathered, and may be seen later.
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
            || judge.excuses.is_written_late(quiet_since, by);
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
                finding(by, channel, format!("node {node} still shows {shown:?} and not {}", after.least))
            })
    })
}

fn ticks(judge: &Judge<'_>) -> Option<Finding> {
    judge.history.streams.iter().find_map(|stream| {
        let mut last = stream.opened;
        let times = stream.seen.iter().map(|(at, _)| *at).chain([stream.closed]);
        times.into_iter().find_map(|at| {
            let lag = judge.history.lags.between(last, at);
            let silent = at - std::mem::replace(&mut last, at);
            let what = || format!("a stream of node {} was silent for {silent} ms", stream.node);
            if silent > TICK + 1_000 + lag { finding(at, stream.channel, what()) } else { None }
        })
    })
}

fn updates(judge: &Judge<'_>) -> Option<Finding> {
    let rules = &judge.plan.rules;
    judge.history.streams.iter().find_map(|stream| {
        // The first comes when the stream is opened, whenever the last change was.
        let counts: Vec<_> = stream.seen.iter().filter(|(_, shown)| shown.is_some()).skip(1).collect();
        counts.windows(2).find_map(|pair| {
            let apart = pair[1].0 - pair[0].0;
            // The first may have been on its way for longer than the second.
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

/// Whether a channel may be lost that nobody has looked at since. A store that has lost a channel alone does not say so: that is
/// noticed by nodes that know the channel, within an interval of when they can look.
fn is_lost_alone(judge: &Judge<'_>, from: Millis, to: Millis) -> bool {
    judge.excuses.faults.iter().any(|w| {
        let can_look = |node| judge.excuses.settled(node, w.from, w.from);
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
                || judge.excuses.is_written_late(from, answered);
            let what = format!("node {node} can't say what is live, without a reason");
            return if is_excused { None } else { Some(Finding { at: answered, channel: None, what }) };
        };
        // What is old is not judged, and where it is old what is not in it may be unknown.
        let is_old = counts.iter().any(|(_, shown)| shown.stale);
        if is_old {
            let is_excused = judge.excuses.is_troubled(node, from, answered)
                || judge.excuses.is_written_late(from, answered);
            let what = format!("node {node} gives an old list without a reason");
            return if is_excused { None } else { Some(Finding { at: answered, channel: None, what }) };
        }
        if is_lost_alone(judge, from, answered) {
            return None;
        }
        (0..CHANNELS).find_map(|channel| {
            let listed = counts.iter().find(|(listed, _)| *listed == channel);
            let value = listed.and_then(|(_, shown)| shown.value).unwrap_or(0);
            if judge.was(channel, from, answered, value) {
                return None;
            }
            let range = judge.between(channel, from, answered);
            let what = format!(
                "node {node} lists {value} as live; it was {} to {} from {from} on",
                range.least, range.most
            );
            finding(answered, channel, what)
        })
    })
}

fn leases(judge: &Judge<'_>) -> Option<Finding> {
    judge.history.counts.iter().find_map(|Counted { at, answered, channel, count }| {
        let from = at.saturating_sub(GRID);
        let mut nodes = 0..judge.plan.nodes.len();
        if nodes.any(|node| judge.excuses.is_troubled(node, from, *answered))
            || judge.was(*channel, from, *answered, *count)
        {
            return None;
        }
        let range = judge.between(*channel, from, *answered);
        let what = if *count < range.least { "somebody was dropped" } else { "somebody is there too long" };
        finding(
            *at,
            *channel,
            format!("{what}: {count} are counted, and not {} to {}", range.least, range.most),
        )
    })
}

fn active(judge: &Judge<'_>) -> Option<Finding> {
    let longest = judge.plan.rules.lease(true) + LEAVE_MEMORY;
    judge.honest().find_map(|called| {
        let Some((answered, Answer::Beaten { active, .. })) = called.answer else { return None };
        let call = called.call;
        let events = &judge.channels[&call.channel].0[&call.viewer][&call.session];
        let mut leaves = events.iter().filter(|event| event.lease.is_none() && event.at <= answered);
        let is_troubled = (0..judge.plan.nodes.len())
            .any(|node| judge.excuses.is_troubled(node, called.at.saturating_sub(longest), answered));
        let memory = if is_troubled { longest } else { LEAVE_MEMORY };
        let what = match (call.act, active) {
            (Act::Join { .. }, false) if !leaves.any(|leave| leave.latest >= called.at) => {
                "a join is not counted though its session has not left since"
            }
            (Act::Beat { .. }, false) if !leaves.any(|leave| leave.latest + memory + GRID >= called.at) => {
                "a beat is not counted though its session has not left"
            }
            (Act::Beat { .. }, true) if !is_troubled => {
                let joined = |leave: Millis| {
                    judge.history.calls.iter().any(|other| {
                        let is_join = matches!(other.call.act, Act::Join { .. }) && other.at <= answered;
                        other.call.session == call.session
                            && is_join
                            && other.answer.is_none_or(|(by, _)| by >= leave)
                    })
                };
                let over = |leave: Millis| leave + LEAVE_MEMORY > answered + GRID && !joined(leave);
                if !leaves.any(|leave| leave.settled <= called.at && over(leave.at)) {
                    return None;
                }
                "a beat counts though its session has just left"
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
        let (_, without) = state(events, called.at);
        if without || judge.excuses.is_troubled(call.node, called.at, answered) {
            return None;
        }
        finding(answered, call.channel, format!("refused though it is counted: {call:?}"))
    })
}

fn answered(judge: &Judge<'_>) -> Option<Finding> {
    let waiting = judge.history.begun.saturating_sub(judge.history.calls.len());
    let what = format!("{waiting} calls were never answered");
    (waiting > 0).then_some(Finding { at: judge.plan.rules.over, channel: None, what })
}

fn no_oddities(judge: &Judge<'_>) -> Option<Finding> {
    let (at, what) = judge.history.oddities.iter().min_by_key(|(at, _)| *at)?;
    Some(Finding { at: *at, channel: None, what: what.clone() })
}

fn nothing_left(judge: &Judge<'_>) -> Option<Finding> {
    let what = judge.history.leftovers.first()?;
    Some(Finding { at: judge.plan.rules.over, channel: None, what: what.clone() })
}
