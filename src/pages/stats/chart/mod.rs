//! The chart of a history: pure functions from points to SVG.
//!
//! The chart is made here, because it is small and because crates for charts draw pictures of a fixed size with fonts and
//! colors of their own. This one is part of the page: it takes its font and colors from the style sheet, is as wide as its
//! space while its texts keep their size, and stays legible on phones, in print and in forced colors.
//!
//! How it does that: positions along the time axis are percentages, and positions along the count axis are pixels. Paths
//! cannot have percentages, so they are in an inner image that is stretched to the same space; their strokes are not
//! stretched (`non-scaling-stroke`). The content security policy forbids `style` attributes, and none is needed.
//!
//! What it promises:
//! - A count holds until the next step: lines are steps and never slopes.
//! - What is not known is a gap, hatched, and never 0. Steps that are known in part are marked below the axis.
//! - The peak is at its exact instant and count.

use std::fmt::Write as _;

use super::times::{Times, time};
use crate::{
    domain::Timestamp,
    i18n::{Locale, stats_text::stats_text},
    server::history::{Peak, Point, Tick, ticks},
};

/// The height of the whole image in pixels.
pub(super) const HEIGHT: u32 = 268;
/// Where the highest count is, and where the count 0 is.
const TOP: u32 = 32;
const BASE: u32 = 236;

/// The size of the inner image in its own units.
const INNER_WIDTH: f64 = 10_000.0;
const INNER_HEIGHT: f64 = 1_000.0;

/// The most marks on the time axis, and how many of them there is space for on a phone.
const MOST_TICKS: u32 = 11;
const FEW_TICKS: u32 = 5;

/// The share of the width from the edges within which the text of a mark is beside it, and how far the next text must be
/// from it on a phone.
const EDGE: f64 = 0.06;
const EDGE_SPACE: f64 = 0.33;

/// A step with a smaller known share is marked as incomplete. The first and the last seconds of a broadcast are less.
const COMPLETE: f64 = 0.9;

/// What happened within this time, in milliseconds, may not have been written yet. It is no gap.
const PENDING_MS: u64 = 30_000;

/// The share of the width from which on a gap is labelled.
const LABELLED_GAP: f64 = 0.2;

/// What a chart is made of.
#[derive(Debug)]
pub(super) struct Data<'a> {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) points: &'a [Point],
    pub(super) peak: Option<Peak>,
}

/// A chart, ready to be put into a page.
#[derive(Debug)]
pub(super) struct Chart {
    /// The width of the count axis in pixels.
    pub(super) scale_width: usize,
    /// The content of the image of the count axis.
    pub(super) scale: String,
    /// The content of the image beside it.
    pub(super) plot: String,
    /// Whether the chart has gaps, and steps that are known in part.
    pub(super) has_gaps: bool,
    pub(super) has_partial: bool,
}

/// The marks of the count axis: multiples of `step` up to `top`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scale {
    step: u64,
    top: u64,
}

impl Scale {
    /// At most four steps of 1, 2 or 5 times a power of ten that reach `highest`.
    fn reaching(highest: u32) -> Self {
        let highest = u64::from(highest.max(1));
        let mut power = 1;
        loop {
            for factor in [1, 2, 5] {
                let step = factor * power;
                if highest.div_ceil(step) <= 4 {
                    return Self { step, top: highest.div_ceil(step) * step };
                }
            }
            power *= 10;
        }
    }

    fn marks(self) -> impl Iterator<Item = u64> {
        (0..=self.top / self.step).map(move |index| index * self.step)
    }

    /// The position of a count in pixels.
    #[expect(clippy::cast_precision_loss, reason = "pictures need no more than 53 bits")]
    fn y(self, count: f64) -> f64 {
        f64::from(BASE) - count / self.top as f64 * f64::from(BASE - TOP)
    }

    /// The position of a count in the inner image.
    #[expect(clippy::cast_precision_loss, reason = "pictures need no more than 53 bits")]
    fn inner_y(self, count: f64) -> f64 {
        ((1.0 - count / self.top as f64) * INNER_HEIGHT).round()
    }
}

/// A span of instants as shares of the width.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    from: f64,
    to: f64,
}

/// What is known of the points.
#[derive(Debug, Default, PartialEq)]
struct Runs<'a> {
    /// Consecutive points of which something is known.
    known: Vec<&'a [Point]>,
    /// Where nothing is known.
    gaps: Vec<Part>,
    /// Where something is not known.
    partial: Vec<Part>,
}

impl Data<'_> {
    /// The share of the width at an instant.
    #[expect(clippy::cast_precision_loss, reason = "pictures need no more than 53 bits")]
    fn x(&self, at: Timestamp) -> f64 {
        let length = self.to.as_millis().saturating_sub(self.from.as_millis()).max(1);
        let passed = at.as_millis().saturating_sub(self.from.as_millis());
        passed.min(length) as f64 / length as f64
    }

    fn inner_x(&self, at: Timestamp) -> f64 {
        (self.x(at) * INNER_WIDTH).round()
    }

    fn part(&self, points: &[Point]) -> Option<Part> {
        let (first, last) = (points.first()?, points.last()?);
        Some(Part { from: self.x(first.at), to: self.x(last.until) })
    }

    fn runs(&self, now: Timestamp) -> Runs<'_> {
        let is_known = |point: &Point| point.counts().is_some();
        // The newest steps may not have been written yet.
        let is_pending = |point: &Point| now.as_millis().saturating_sub(point.at.as_millis()) < PENDING_MS;
        let written = self.points.iter().rposition(|point| is_known(point) || !is_pending(point));
        let points = &self.points[..written.map_or(0, |last| last + 1)];
        let mut runs = Runs::default();
        for run in points.chunk_by(|a, b| is_known(a) == is_known(b)) {
            if run.first().is_some_and(is_known) {
                runs.known.push(run);
                let is_partial = |point: &Point| point.observed(now) < COMPLETE && !is_pending(point);
                let partial = run.chunk_by(|a, b| is_partial(a) == is_partial(b));
                runs.partial.extend(
                    partial
                        .filter(|run| run.first().is_some_and(is_partial))
                        .filter_map(|run| self.part(run)),
                );
            } else {
                runs.gaps.extend(self.part(run));
            }
        }
        runs
    }

    /// The highest count.
    fn highest(&self) -> u32 {
        let counts = self.points.iter().filter_map(Point::counts).map(|(_, _, max)| max);
        counts.chain(self.peak.map(|peak| peak.count)).max().unwrap_or(0)
    }

    /// The line of the average. As an area it also goes down to 0 at both ends of each run.
    fn line(&self, runs: &Runs<'_>, scale: Scale, is_area: bool) -> String {
        let mut path = String::new();
        for run in &runs.known {
            let mut last = None;
            for point in *run {
                let Some((_, average, _)) = point.counts() else { continue };
                let (x, y) = (self.inner_x(point.at), scale.inner_y(average));
                match last {
                    None if is_area => push(&mut path, format_args!("M{x} {INNER_HEIGHT}V{y}")),
                    None => push(&mut path, format_args!("M{x} {y}")),
                    Some(before) if before != y => push(&mut path, format_args!("H{x}V{y}")),
                    Some(_) => {}
                }
                last = Some(y);
            }
            if let Some(end) = run.last() {
                push(&mut path, format_args!("H{}", self.inner_x(end.until)));
                if is_area {
                    push(&mut path, format_args!("V{INNER_HEIGHT}Z"));
                }
            }
        }
        path
    }

    /// The area between the lowest and the highest counts.
    fn band(&self, runs: &Runs<'_>, scale: Scale) -> String {
        let mut path = String::new();
        for run in &runs.known {
            let known = || run.iter().filter_map(|point| Some((point, point.counts()?)));
            for (index, (point, (_, _, max))) in known().enumerate() {
                let (from, to) = (self.inner_x(point.at), self.inner_x(point.until));
                let y = scale.inner_y(f64::from(max));
                match index {
                    0 => push(&mut path, format_args!("M{from} {y}H{to}")),
                    _ => push(&mut path, format_args!("V{y}H{to}")),
                }
            }
            for (point, (min, ..)) in known().rev() {
                let y = scale.inner_y(f64::from(min));
                push(&mut path, format_args!("V{y}H{}", self.inner_x(point.at)));
            }
            path.push('Z');
        }
        path
    }
}

/// Draws a chart.
pub(super) fn draw(data: &Data<'_>, times: &Times) -> Chart {
    let text = &stats_text(times.locale).chart;
    let runs = data.runs(times.now);
    let scale = Scale::reaching(data.highest());
    let mut plot = String::from(
        r#"<defs><pattern id="gap" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line class="chart__hatch" y2="6"></line></pattern></defs>"#,
    );
    for gap in &runs.gaps {
        let (x, width) = place(*gap);
        push(
            &mut plot,
            format_args!(
                r#"<rect class="chart__gap" x="{x}%" y="{TOP}" width="{width}%" height="{}" fill="url(#gap)"></rect>"#,
                BASE - TOP
            ),
        );
        if gap.to - gap.from >= LABELLED_GAP {
            let (middle, y) = (percent(f64::midpoint(gap.from, gap.to)), u32::midpoint(TOP, BASE) + 4);
            push(
                &mut plot,
                format_args!(
                    r#"<text class="chart__text chart__text--gap" x="{middle}%" y="{y}" text-anchor="middle">{}</text>"#,
                    text.gap
                ),
            );
        }
    }
    for mark in scale.marks() {
        let y = pixels(scale.y(number(mark)));
        let class = if mark == 0 { "chart__base" } else { "chart__grid" };
        push(&mut plot, format_args!(r#"<line class="{class}" x2="100%" y1="{y}" y2="{y}"></line>"#));
    }
    for partial in &runs.partial {
        let (x, width) = place(*partial);
        push(
            &mut plot,
            format_args!(
                r#"<rect class="chart__partial" x="{x}%" y="{}" width="{width}%" height="3"></rect>"#,
                BASE + 1
            ),
        );
    }
    push(
        &mut plot,
        format_args!(
            r#"<svg y="{TOP}" width="100%" height="{}" viewBox="0 0 {INNER_WIDTH} {INNER_HEIGHT}" preserveAspectRatio="none" overflow="visible"><path class="chart__area" d="{}"></path><path class="chart__band" d="{}"></path><path class="chart__line" d="{}" vector-effect="non-scaling-stroke"></path></svg>"#,
            BASE - TOP,
            data.line(&runs, scale, true),
            data.band(&runs, scale),
            data.line(&runs, scale, false)
        ),
    );
    time_axis(&mut plot, data, times);
    if let Some(peak) = data.peak.filter(|peak| peak.count > 0) {
        peak_mark(&mut plot, data, peak, scale, times);
    }
    push(
        &mut plot,
        format_args!(
            r#"<rect class="chart__cursor" data-cursor y="{TOP}" width="0" height="{}" visibility="hidden"></rect>"#,
            BASE - TOP
        ),
    );
    let (scale_width, scale) = count_axis(scale, times.locale);
    Chart { scale_width, scale, plot, has_gaps: !runs.gaps.is_empty(), has_partial: !runs.partial.is_empty() }
}

/// The numbers beside the chart, and the width that they need.
fn count_axis(scale: Scale, locale: Locale) -> (usize, String) {
    let width = scale.marks().map(|mark| locale.large(mark).len()).max().unwrap_or_default() * 7 + 10;
    let mut axis = String::new();
    for mark in scale.marks() {
        let (x, y) = (width - 8, pixels(scale.y(number(mark)) + 4.0));
        let label = locale.large(mark);
        push(
            &mut axis,
            format_args!(r#"<text class="chart__text" x="{x}" y="{y}" text-anchor="end">{label}</text>"#),
        );
    }
    (width, axis)
}

fn time_axis(plot: &mut String, data: &Data<'_>, times: &Times) {
    let ticks = ticks(data.from, data.to, &times.zone, MOST_TICKS, FEW_TICKS);
    let majors: Vec<f64> = ticks.iter().filter(|tick| tick.is_major).map(|tick| data.x(tick.at)).collect();
    // A text beside its mark, at an edge, needs more space than one below its mark.
    let is_crowded = |share: f64| {
        let is_near = |other: &f64| *other != share && (other - share).abs() < EDGE_SPACE;
        anchor(share, EDGE) != "middle" && majors.iter().any(is_near)
    };
    for tick in ticks {
        let share = data.x(tick.at);
        let x = percent(share);
        let minor = if tick.is_major && !is_crowded(share) { "" } else { " chart__minor" };
        let (anchor, y) = (anchor(share, EDGE), HEIGHT - 8);
        push(
            plot,
            format_args!(
                r#"<line class="chart__tick{minor}" x1="{x}%" x2="{x}%" y1="{BASE}" y2="{}"></line><text class="chart__text{minor}" x="{x}%" y="{y}" text-anchor="{anchor}">{}</text>"#,
                BASE + 6,
                tick_label(&tick, data, times)
            ),
        );
    }
}

/// The time; at midnight the date; in a week the day of the week with it.
fn tick_label(tick: &Tick, data: &Data<'_>, times: &Times) -> String {
    /// The longest range in which days of the week are unambiguous.
    const WEEK_MS: u64 = 8 * 86_400_000;
    /// The longest range with times.
    const HOURS_MS: u64 = 4 * 86_400_000;
    let length = data.to.as_millis().saturating_sub(data.from.as_millis());
    match tick.is_midnight {
        false => time(&tick.wall),
        true if (HOURS_MS..WEEK_MS).contains(&length) => {
            format!("{}\u{a0}{}", times.locale.weekday(tick.wall.weekday), tick.wall.day)
        }
        true => times.date(&tick.wall),
    }
}

/// The peak: a line from its label down to a dot.
fn peak_mark(plot: &mut String, data: &Data<'_>, peak: Peak, scale: Scale, times: &Times) {
    let share = data.x(peak.at);
    let (x, y) = (percent(share), pixels(scale.y(f64::from(peak.count))));
    let label = format!("{} · {}", times.locale.number(peak.count), times.instant(peak.at));
    push(
        plot,
        format_args!(
            r#"<line class="chart__leader" x1="{x}%" x2="{x}%" y1="22" y2="{y}"></line><circle class="chart__peak" cx="{x}%" cy="{y}" r="4.5"></circle><text class="chart__text chart__text--peak" x="{x}%" y="15" text-anchor="{}">{label}</text>"#,
            anchor(share, 0.22)
        ),
    );
}

/// How a text is aligned so that it stays within the image. `margin`: the share of the width that half of it may need.
fn anchor(share: f64, margin: f64) -> &'static str {
    if share < margin {
        "start"
    } else if share > 1.0 - margin {
        "end"
    } else {
        "middle"
    }
}

/// The start and the width of a part in percent.
fn place(Part { from, to }: Part) -> (f64, f64) {
    (percent(from), percent(to - from))
}

/// A share in percent, to a hundredth.
fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}

/// A position to a tenth of a pixel.
fn pixels(position: f64) -> f64 {
    (position * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "pictures need no more than 53 bits")]
const fn number(mark: u64) -> f64 {
    mark as f64
}

/// Appends text. Writing into a string does not fail.
fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    let _written = text.write_fmt(more);
}

#[cfg(test)]
pub(super) mod tests;
