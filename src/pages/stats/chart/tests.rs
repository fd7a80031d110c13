//! Gaps, one step, a million viewers, and a day with a change of daylight saving.

use super::*;
use crate::server::history::{Arrivals, Tally, Zone};

const START: u64 = 1_790_000_040_000;
const MINUTE: u64 = 60_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// Steps of `step` seconds from `from` on with these lowest and highest counts; `None` if nothing is known. Returns the
/// end too.
pub(in super::super) fn history(
    from: Timestamp,
    step: u64,
    counts: &[Option<(u32, u32)>],
) -> (Timestamp, Vec<Point>) {
    let mut start = from;
    let mut points = Vec::new();
    for counts in counts {
        let until = Timestamp::from_millis(start.as_millis() + step * 1_000);
        let tally = counts.map_or_else(Tally::default, |(min, max)| Tally {
            observed_ms: step * 1_000,
            watched_ms: u64::from(min + max) * step * 500,
            lowest: Some(min),
            peak: Some(Peak { count: max, at: start }),
            arrivals: Arrivals::default(),
        });
        points.push(Point { at: start, until, tally, joins: None });
        start = until;
    }
    (start, points)
}

/// A chart of minutes, looked at an hour later.
fn data<'a>(counts: &[Option<(u32, u32)>], points: &'a mut Vec<Point>) -> (Data<'a>, Timestamp) {
    let (to, history) = history(at(0), 60, counts);
    *points = history;
    (Data { from: at(0), to, points, peak: None }, Timestamp::from_millis(to.as_millis() + 60 * MINUTE))
}

fn times(now: Timestamp) -> Times {
    Times::new(Zone::utc(), Locale::Es, now)
}

fn line(data: &Data<'_>, now: Timestamp) -> String {
    data.line(&data.runs(now), Scale::reaching(data.highest()), false)
}

#[test]
fn a_count_holds_until_the_next_step() {
    let mut points = Vec::new();
    let (data, now) = data(&[Some((4, 4)), Some((4, 4)), Some((1, 1)), Some((0, 0))], &mut points);
    assert_eq!(line(&data, now), "M0 0H5000V750H7500V1000H10000");
    assert!(!line(&data, now).contains('L'), "no slopes");
}

#[test]
fn a_gap_is_a_gap_and_not_zero() {
    let mut points = Vec::new();
    let (data, now) = data(&[Some((2, 2)), None, None, Some((2, 2)), Some((0, 2))], &mut points);
    let runs = data.runs(now);
    assert_eq!(runs.known.len(), 2);
    assert_eq!(runs.gaps, [Part { from: 0.2, to: 0.6 }]);
    assert_eq!(line(&data, now), "M0 0H2000M6000 0H8000V500H10000");
    let chart = draw(&data, &times(now));
    assert!(chart.has_gaps && !chart.has_partial);
    assert!(chart.plot.contains(r#"<rect class="chart__gap" x="20%" y="32" width="40%""#), "{}", chart.plot);
    assert!(chart.plot.contains(">sin datos</text>"), "wide gaps are labelled");
    assert_eq!(
        data.line(&runs, Scale::reaching(2), true),
        "M0 1000V0H2000V1000ZM6000 1000V0H8000V500H10000V1000Z"
    );
    assert_eq!(data.band(&runs, Scale::reaching(2)), "M0 0H2000V0H0ZM6000 0H8000V0H10000V1000H8000V0H6000Z");
}

#[test]
fn what_may_not_be_written_yet_is_no_gap() {
    let mut points = Vec::new();
    let (data, _) = data(&[Some((2, 2)), None, None], &mut points);
    let gaps = |now| data.runs(now).gaps.len();
    assert_eq!(gaps(at(2 * MINUTE + 5_000)), 1, "the second minute should be there");
    assert_eq!(gaps(at(10 * MINUTE)), 1);
    let mut points = Vec::new();
    let (data, _) = self::data(&[Some((2, 2)), None], &mut points);
    assert_eq!(data.runs(at(MINUTE + 5_000)).gaps, []);
    assert_eq!(line(&data, at(MINUTE + 5_000)), "M0 0H5000");
}

#[test]
fn steps_that_are_known_in_part_are_marked() {
    let mut points = Vec::new();
    let (to, now) = {
        let (data, now) = data(&[Some((2, 2)); 4], &mut points);
        (data.to, now)
    };
    points[1].tally.observed_ms = 20_000;
    points[2].tally.observed_ms = 40_000;
    points[3].tally.observed_ms = 57_000;
    let data = Data { from: at(0), to, points: &points, peak: None };
    assert_eq!(data.runs(now).partial, [Part { from: 0.25, to: 0.75 }]);
    assert!(draw(&data, &times(now)).plot.contains(r#"class="chart__partial" x="25%""#));
}

#[test]
fn one_step_is_a_line_over_the_whole_width() {
    let mut points = Vec::new();
    let (mut data, now) = data(&[Some((1, 1))], &mut points);
    data.peak = Some(Peak { count: 1, at: at(0) });
    assert_eq!(line(&data, now), "M0 0H10000");
    let chart = draw(&data, &times(now));
    assert!(chart.scale.contains(">0</text>") && chart.scale.contains(">1</text>"));
    assert_eq!(chart.scale.matches("<text").count(), 2, "no marks between whole viewers");
    assert!(chart.plot.contains(r#"cx="0%" cy="32""#), "{}", chart.plot);
    assert!(chart.plot.contains(r#"text-anchor="start">1 · "#), "the label stays within the image");
}

#[test]
fn nothing_known_is_one_gap() {
    let mut points = Vec::new();
    let (data, now) = data(&[None; 3], &mut points);
    let chart = draw(&data, &times(now));
    assert_eq!(line(&data, now), "");
    assert!(chart.plot.contains(r#"x="0%" y="32" width="100%""#));
    assert!(!chart.plot.contains("chart__peak"));
    let empty = Data { from: at(0), to: at(MINUTE), points: &[], peak: None };
    assert!(!draw(&empty, &times(now)).has_gaps);
}

#[test]
fn a_million_viewers_have_round_marks_and_space_for_them() {
    let mut points = Vec::new();
    let (mut data, now) = data(&[Some((0, 10)), Some((999_000, 1_000_000))], &mut points);
    data.peak = Some(Peak { count: 1_000_000, at: at(90_000) });
    let chart = draw(&data, &times(now));
    for mark in ["0", "500.000", "1.000.000"] {
        assert!(chart.scale.contains(&format!(">{mark}</text>")), "{mark} in {}", chart.scale);
    }
    assert_eq!(chart.scale_width, 9 * 7 + 10);
    assert!(chart.plot.contains(r#"cx="75%" cy="32""#), "{}", chart.plot);
    assert!(chart.plot.contains(">1.000.000 · "));
}

#[test]
fn marks_of_counts_are_few_and_round() {
    for (highest, step, top) in [
        (0, 1, 1),
        (1, 1, 1),
        (4, 1, 4),
        (5, 2, 6),
        (9, 5, 10),
        (10, 5, 10),
        (1_234, 500, 1_500),
        (u32::MAX, 2_000_000_000, 6_000_000_000),
    ] {
        assert_eq!(Scale::reaching(highest), Scale { step, top }, "{highest}");
    }
    for highest in 0..10_000 {
        let scale = Scale::reaching(highest);
        assert!(scale.top >= u64::from(highest) && (2..=5).contains(&scale.marks().count()), "{highest}");
    }
}

#[test]
fn a_day_of_23_hours_has_marks_at_the_times_of_the_clock() {
    let madrid = Zone::parse("Europe/Madrid").unwrap();
    // 29 March 2026 in Madrid begins at 23:00 UTC and has 23 hours.
    let from = Timestamp::from_millis(1_774_738_800_000);
    let (to, points) = history(from, 3_600, &[Some((1, 1)); 23]);
    let data = Data { from, to, points: &points, peak: None };
    let now = Timestamp::from_millis(to.as_millis() + 86_400_000);
    let chart = draw(&data, &Times::new(madrid, Locale::Es, now));
    let labels: Vec<_> = chart.plot.split("</text>").filter_map(|text| text.rsplit('>').next()).collect();
    let expected =
        ["29\u{a0}mar", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "30\u{a0}mar"];
    assert_eq!(labels.iter().filter(|label| !label.is_empty()).copied().collect::<Vec<_>>(), expected);
    // 03:00 is two hours after midnight: 2/23 of the width.
    assert!(chart.plot.contains(r#"x="8.7%""#), "{}", chart.plot);
}

/// The texts of the time axis that phones show too: where they begin and end in a picture of this width.
fn texts_on_phones(plot: &str, width: f64) -> Vec<(f64, f64)> {
    /// The width of a character, as that of the count axis.
    const CHARACTER: f64 = 7.0;
    let texts = plot.split("<text class=\"chart__text\"").skip(1);
    let text = |text: &str| {
        let value =
            |name: &str| text.split_once(&format!(" {name}=\"")).unwrap().1.split('"').next().unwrap();
        let x: f64 = value("x").trim_end_matches('%').parse().unwrap();
        let label = text.split_once('>').unwrap().1.split('<').next().unwrap();
        let length = f64::from(u32::try_from(label.chars().count()).unwrap()) * CHARACTER;
        let from = x / 100.0 * width
            - match value("text-anchor") {
                "start" => 0.0,
                "middle" => length / 2.0,
                _ => length,
            };
        (from, from + length)
    };
    texts.map(text).collect()
}

#[test]
fn times_on_the_axis_do_not_overlap_on_a_phone() {
    for minutes in (5..720).step_by(7) {
        for offset in (0..60).step_by(5) {
            let (from, to) = (at(offset * MINUTE), at((offset + minutes) * MINUTE));
            let data = Data { from, to, points: &[], peak: None };
            let texts = texts_on_phones(&draw(&data, &times(to)).plot, 208.0);
            assert!(!texts.is_empty(), "{minutes} minutes from {offset}");
            let is_apart = |pair: &[(f64, f64)]| pair[0].1 < pair[1].0;
            assert!(texts.windows(2).all(is_apart), "{minutes} minutes from {offset}: {texts:?}");
        }
    }
}

#[test]
fn a_picture_of_1_500_steps_is_small() {
    let mut points = Vec::new();
    let counts: Vec<_> = (0..1_500).map(|n: u32| Some((n * 7919 % 1_000, n * 7919 % 1_000 + 100))).collect();
    let (data, now) = data(&counts, &mut points);
    let chart = draw(&data, &times(now));
    assert!(chart.plot.len() < 80_000, "{} bytes", chart.plot.len());
}
