//! The invariants of what is recorded: compares it with the model, and with what calls and streams have shown.

use std::collections::{BTreeMap, BTreeSet};

use aforo::server::history::sketch::EXACT;

use super::{
    faults::Fault,
    history::{Answer, Called, RecordedFigures, RecordedSecond},
    invariants::{Finding, finding},
    judge::{Judge, TOLERANCE},
    model::Range,
    plan::{Act, CHANNELS, Millis},
};

/// How long before its end a killed node last wrote what it had recorded, at most.
const UNWRITTEN: Millis = 5_000;

/// The longest time between two samples in which a count is taken to hold.
const HOLDS: Millis = 5_000;

/// How long after the beginning the channels have owners that have sampled them.
const FIRST_SAMPLES: Millis = 15_000;

/// Whether a node may have been killed before it wrote what it had recorded at an instant.
fn may_be_unwritten(judge: &Judge<'_>, node: usize, at: Millis) -> bool {
    let faults = &judge.excuses.faults;
    let is_kept_back = |kill: Millis| {
        let away = faults.iter().filter(|w| w.fault == Fault::DatabaseAway && w.from <= kill);
        away.into_iter().any(|w| kill <= w.to + UNWRITTEN && w.from <= at + UNWRITTEN)
    };
    let kills = faults.iter().filter(|w| w.fault == Fault::Killed { node } && at <= w.from);
    kills.into_iter().any(|w| w.from <= at + UNWRITTEN || is_kept_back(w.from))
}

/// Compares the recorded peak of each channel with every fresh count that calls and streams have shown.
pub fn peaks(judge: &Judge<'_>) -> Option<Finding> {
    let recorded = judge.history.recorded.as_ref()?;
    let highest = |channel: u64| {
        let of_channel = recorded.seconds.iter().filter(|one| one.channel == channel);
        of_channel.filter_map(|one| Some(one.counts?.1)).max().unwrap_or(0)
    };
    let peaks: Vec<u32> = (0..CHANNELS).map(highest).collect();
    let of_calls = judge.honest().filter_map(|called| {
        let (answered, Answer::Beat { shown, .. }) = called.answer? else { return None };
        Some((called.call.node, called.call.channel, answered, shown.live()?))
    });
    let of_streams = judge.history.streams.iter().flat_map(|stream| {
        let live = stream.seen.iter().filter_map(|(at, shown)| Some((*at, (*shown)?.live()?)));
        live.map(|(at, value)| (stream.node, stream.channel, at, value))
    });
    of_calls.chain(of_streams).filter(|(_, channel, ..)| *channel < CHANNELS).find_map(
        |(node, channel, at, value)| {
            let peak = peaks[usize::try_from(channel).ok()?];
            if value <= peak || may_be_unwritten(judge, node, at) {
                return None;
            }
            finding(at, channel, format!("node {node} shows {value}, but the recorded peak is {peak}"))
        },
    )
}

/// Compares what is recorded of each second with the counts that were possible.
pub fn recorded(judge: &Judge<'_>) -> Option<Finding> {
    judge.history.recorded.as_ref()?.seconds.iter().find_map(|second| {
        let RecordedSecond { at, channel, observed, watched, counts } = *second;
        if observed > 1_000 {
            return finding(at, channel, format!("{observed} ms of a second are recorded as observed"));
        }
        let (from, to) = (at.saturating_sub(HOLDS + TOLERANCE), at + 1_000 + TOLERANCE);
        if judge.excuses.faults.iter().any(|w| w.fault.loses_data() && w.from <= to) {
            // An unnoticed loss shows for a moment as a lower count.
            return None;
        }
        let range = judge.between(channel, from, to);
        let is_possible =
            u64::from(range.least) * observed <= watched && watched <= u64::from(range.most) * observed;
        if !is_possible {
            let Range { least, most } = range;
            let what =
                format!("{watched} viewer-ms in {observed} ms are recorded; the count was {least} to {most}");
            return finding(at, channel, what);
        }
        let (lowest, highest) = counts?;
        let impossible =
            [lowest, highest].into_iter().find(|one| !(range.least..=range.most).contains(one))?;
        let what = format!("{impossible} is recorded; the count was {} to {}", range.least, range.most);
        finding(at, channel, what)
    })
}

/// Every second in which a channel certainly had viewers, and no fault was near, is recorded as observed.
pub fn observed(judge: &Judge<'_>) -> Option<Finding> {
    let recorded = judge.history.recorded.as_ref()?;
    let seconds = recorded.seconds.iter().map(|second| ((second.channel, second.at), second.observed));
    let observed: BTreeMap<(u64, Millis), Millis> = seconds.collect();
    let nodes = judge.plan.nodes.len();
    let instants = (FIRST_SAMPLES..judge.plan.rules.span).step_by(1_000);
    (0..CHANNELS).flat_map(|channel| instants.clone().map(move |at| (channel, at))).find_map(
        |(channel, at)| {
            let (from, to) = (at - HOLDS, at + 1_000 + HOLDS);
            let known = observed.get(&(channel, at)).copied().unwrap_or(0);
            let is_excused = judge.between(channel, from, to).least == 0
                || judge.may_write_late_beats(channel, from, to)
                || judge.excuses.faults.iter().any(|w| w.fault.loses_data() && w.from <= to)
                || (0..nodes).any(|node| {
                    judge.excuses.is_troubled(node, from, to) || may_be_unwritten(judge, node, at)
                });
            if known == 1_000 || is_excused {
                return None;
            }
            finding(at, channel, format!("only {known} ms of a second are recorded as observed"))
        },
    )
}

/// The figures of a channel agree with each other, and with its seconds.
pub fn watched(judge: &Judge<'_>) -> Option<Finding> {
    let recorded = judge.history.recorded.as_ref()?;
    recorded.figures.iter().find_map(|figures| {
        let RecordedFigures { channel, length, observed, average, watch_seconds, .. } = *figures;
        let of_channel = recorded.seconds.iter().filter(|second| second.channel == channel);
        let in_seconds = of_channel.map(|second| second.watched).sum::<u64>() as f64 / 1_000.0;
        let rounding = 1e-9 * (1.0 + watch_seconds);
        let product = average.unwrap_or(0.0) * observed * length;
        let is_one = [product, in_seconds].iter().all(|one| (one - watch_seconds).abs() <= rounding);
        let what = || {
            format!("average × observed time is {product} s, the seconds have {in_seconds} s: {figures:?}")
        };
        if is_one { None } else { finding(judge.plan.rules.end, channel, what()) }
    })
}

/// Compares the recorded number of distinct viewers with those who were counted, within the error of the sketch.
pub fn uniques(judge: &Judge<'_>) -> Option<Finding> {
    let recorded = judge.history.recorded.as_ref()?;
    recorded.figures.iter().find_map(|figures| {
        let RecordedFigures { channel, uniques, .. } = *figures;
        let is_kept = |called: &&Called| {
            let Some((answered, Answer::Beat { active: true, .. })) = called.answer else { return false };
            !may_be_unwritten(judge, called.call.node, called.at)
                && !may_be_unwritten(judge, called.call.node, answered)
        };
        let is_possible = |called: &&Called| {
            called.call.act != Act::Leave
                && matches!(called.answer, None | Some((_, Answer::Beat { active: true, .. })))
        };
        let of_channel = || judge.history.calls.iter().filter(|called| called.call.channel == channel);
        let least = distinct(of_channel().filter(is_kept));
        let most = distinct(of_channel().filter(is_possible));
        // 2 % of a large number.
        let error = if most > EXACT as u64 { most / 50 } else { 0 };
        let is_right = (least.saturating_sub(error)..=most + error).contains(&uniques);
        let what = || format!("{uniques} distinct viewers are recorded; {least} to {most} were counted");
        if is_right { None } else { finding(judge.plan.rules.end, channel, what()) }
    })
}

/// The number of viewers who made these calls.
fn distinct<'a>(calls: impl Iterator<Item = &'a Called>) -> u64 {
    calls.map(|called| called.call.viewer).collect::<BTreeSet<_>>().len() as u64
}
