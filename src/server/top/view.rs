//! Draws what is known of a node, on a screen of any size or as plain text. Lines that are too long continue on the next
//! one between two figures, and columns that do not fit are left out.

use ratatui::{
    Frame,
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use super::state::{Figures, Row, Top};
use crate::i18n::Locale;

/// What is written for something unknown, as on the pages.
const UNKNOWN: &str = "—";

/// The width of the column of counts.
const COUNT_WIDTH: usize = 10;

/// The width of the column of changes, and that of a screen that has it.
const CHANGE_WIDTH: usize = 9;
const WITH_CHANGE: usize = 34;

/// The width of the column of states, and that of a screen that has it.
const STATE_WIDTH: usize = 9;
const WITH_STATE: usize = 46;

/// The least number of channels for which the figures make room.
const MIN_ROWS: usize = 3;

/// How a text is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Label,
    Good,
    Warning,
    Bad,
}

impl Tone {
    /// Without colors, weight alone makes the difference.
    fn style(self, has_color: bool) -> Style {
        let colored = |color| if has_color { Style::new().fg(color) } else { Style::new() };
        match self {
            Self::Plain => Style::new(),
            Self::Label => Style::new().add_modifier(Modifier::DIM),
            Self::Good => colored(Color::Green),
            Self::Warning => colored(Color::Yellow).add_modifier(Modifier::BOLD),
            Self::Bad => colored(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

/// A figure with its name.
struct Cell {
    label: &'static str,
    value: String,
    tone: Tone,
}

impl Cell {
    fn new(label: &'static str, value: Option<String>) -> Self {
        Self { label, value: value.unwrap_or_else(|| UNKNOWN.to_owned()), tone: Tone::Plain }
    }

    /// A rate per second, which is bad if it is not 0.
    fn bad_rate(label: &'static str, rate: Option<f64>) -> Self {
        let tone = if rate.is_some_and(|rate| rate > 0.0) { Tone::Bad } else { Tone::Plain };
        Self { tone, ..Self::new(label, rate.map(mean)) }
    }

    fn up(label: &'static str, is_up: Option<bool>) -> Self {
        let (value, tone) = match is_up {
            Some(true) => ("up", Tone::Good),
            Some(false) => ("AWAY", Tone::Bad),
            None => (UNKNOWN, Tone::Plain),
        };
        Self { label, value: value.to_owned(), tone }
    }

    fn width(&self) -> usize {
        self.label.chars().count() + 1 + self.value.chars().count()
    }
}

/// A number with at most one decimal.
fn mean(value: f64) -> String {
    Locale::En.mean(value)
}

fn whole(value: f64) -> String {
    Locale::En.mean(value.round())
}

/// A duration of a call.
fn milliseconds(seconds: f64) -> String {
    if seconds < 0.01 {
        format!("{:.2} ms", seconds * 1_000.0)
    } else {
        format!("{} ms", whole(seconds * 1_000.0))
    }
}

/// The upper bound of durations.
fn at_most(seconds: f64) -> String {
    if seconds.is_finite() { format!("≤{} ms", mean(seconds * 1_000.0)) } else { ">10 s".to_owned() }
}

fn megabytes(bytes: f64) -> String {
    format!("{} MB", whole(bytes / 1e6))
}

/// The figures, each group on lines of its own.
fn groups(top: &Top) -> [Vec<Cell>; 4] {
    let figures: &Figures = top.figures();
    let known = |value: u64| {
        let more = if top.is_list_full() { "+" } else { "" };
        top.has_list().then(|| format!("{}{more}", Locale::En.large(value)))
    };
    let channels = u64::try_from(top.rows().len()).unwrap_or(u64::MAX);
    let mut audience = vec![
        Cell::new("viewers", known(top.viewers())),
        Cell::new("channels", known(channels)),
        Cell::new("streams", figures.streams.map(whole)),
        Cell::new("of channels", figures.watched.map(whole)),
    ];
    if figures.on_air.is_some_and(|channels| channels > 0.0) {
        audience.push(Cell::new("on air", figures.on_air.map(whole)));
    }
    [
        audience,
        vec![
            Cell::new("joins/s", figures.joins.map(mean)),
            Cell::new("heartbeats/s", figures.heartbeats.map(mean)),
            Cell::new("leaves/s", figures.leaves.map(mean)),
            Cell::new("counts/s", figures.counts.map(mean)),
            Cell::bad_rate("refused/s", figures.refusals),
            Cell::bad_rate("errors/s", figures.server_errors),
        ],
        vec![
            Cell::up("store", figures.is_store_up),
            Cell::new("calls/s", figures.store_calls.map(mean)),
            Cell::new("mean", figures.store_mean.map(milliseconds)),
            Cell::new("p99", figures.store_p99.map(at_most)),
            Cell::bad_rate("store errors/s", figures.store_errors),
        ],
        vec![
            Cell::up("database", figures.is_database_up),
            Cell::new("mean", figures.database_mean.map(milliseconds)),
            Cell::new("cpu", figures.processors.map(|share| format!("{}%", whole(share * 100.0)))),
            Cell::new("memory", figures.memory.map(megabytes)),
            Cell::new("descriptors", figures.descriptors.map(whole)),
        ],
    ]
}

/// The name of the node and its state.
fn title(top: &Top) -> Vec<(String, Tone)> {
    let (state, tone) = match (top.fault(), top.readiness()) {
        (Some(fault), _) => (format!("AWAY for {} s: {fault}; trying again", top.away_seconds()), Tone::Bad),
        (None, Some(readiness)) => {
            let reason = readiness.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            let tone = if readiness.status == "ok" { Tone::Good } else { Tone::Warning };
            (format!("{}{reason}", readiness.status), tone)
        }
        (None, None) if top.has_asked() => ("no answer from /readyz".to_owned(), Tone::Warning),
        (None, None) => ("asking…".to_owned(), Tone::Plain),
    };
    vec![(format!("aforo top {}", top.node()), Tone::Plain), (state, tone)]
}

/// Puts texts of these widths on lines of `width`, two spaces apart. Returns the indexes of each line's texts.
fn flow(widths: &[usize], width: usize) -> Vec<Vec<usize>> {
    let (mut lines, mut used) = (Vec::<Vec<usize>>::new(), 0);
    for (index, needed) in widths.iter().enumerate() {
        match lines.last_mut() {
            Some(line) if used + 2 + needed <= width => {
                line.push(index);
                used += 2 + needed;
            }
            _ => {
                lines.push(vec![index]);
                used = *needed;
            }
        }
    }
    lines
}

/// The lines above the list of channels.
fn head(top: &Top, width: usize, has_color: bool) -> Vec<Line<'static>> {
    let title = title(top);
    let widths: Vec<_> = title.iter().map(|(text, _)| text.chars().count()).collect();
    let mut lines = Vec::new();
    for line in flow(&widths, width) {
        let mut spans = Vec::new();
        for index in line {
            let (text, tone) = &title[index];
            if !spans.is_empty() {
                spans.push(Span::raw("  "));
            }
            spans.push(Span::styled(text.clone(), tone.style(has_color)));
        }
        lines.push(Line::from(spans));
    }
    for cells in groups(top) {
        let widths: Vec<_> = cells.iter().map(Cell::width).collect();
        for line in flow(&widths, width) {
            let mut spans = Vec::new();
            for index in line {
                let Cell { label, value, tone } = &cells[index];
                if !spans.is_empty() {
                    spans.push(Span::raw("  "));
                }
                spans.push(Span::styled(format!("{label} "), Tone::Label.style(has_color)));
                spans.push(Span::styled(value.clone(), tone.style(has_color)));
            }
            lines.push(Line::from(spans));
        }
    }
    lines
}

/// The text in `width` characters, cut or filled up.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { format!("{kept}…") }
}

/// A line of the list: the texts of the columns, and the meaning of the state.
fn columns(texts: [&str; 4], width: usize, state: Style) -> Line<'static> {
    let [channel, count, change, status] = texts;
    let (has_change, has_state) = (width >= WITH_CHANGE, width >= WITH_STATE);
    let others =
        COUNT_WIDTH + if has_change { CHANGE_WIDTH } else { 0 } + if has_state { STATE_WIDTH + 2 } else { 0 };
    let mut spans = vec![
        Span::raw(fit(channel, width.saturating_sub(others))),
        Span::raw(format!("{count:>COUNT_WIDTH$}")),
    ];
    if has_change {
        spans.push(Span::raw(format!("{change:>CHANGE_WIDTH$}")));
    }
    if has_state {
        spans.push(Span::styled(format!("  {status:<STATE_WIDTH$}"), state));
    }
    Line::from(spans)
}

/// The line of a channel.
fn row(row: &Row, width: usize, has_color: bool) -> Line<'static> {
    let count = row.count.map_or_else(|| UNKNOWN.to_owned(), |count| Locale::En.number(count));
    let change = match row.change {
        None => UNKNOWN.to_owned(),
        Some(0) => "0".to_owned(),
        Some(change) => {
            let sign = if change > 0 { '+' } else { '-' };
            format!("{sign}{}", Locale::En.large(change.unsigned_abs()))
        }
    };
    let (state, tone) = match (row.count, row.is_stale, row.is_on_air) {
        (None, ..) => ("unknown", Tone::Warning),
        (Some(_), true, _) => ("stale", Tone::Warning),
        (Some(_), false, Some(true)) => ("on air", Tone::Good),
        (Some(_), false, Some(false)) => ("off air", Tone::Plain),
        (Some(_), false, None) => ("live", Tone::Good),
    };
    let line = columns([row.channel.as_str(), &count, &change, state], width, tone.style(has_color));
    // On a screen without the column of states, the line itself says that its count is not current.
    if row.is_stale && width < WITH_STATE { line.style(Tone::Label.style(has_color)) } else { line }
}

/// The heading of the list.
fn heading(width: usize) -> Line<'static> {
    columns(["CHANNEL", "VIEWERS", "1 MIN", "STATE"], width, Style::new())
        .style(Style::new().add_modifier(Modifier::REVERSED))
}

/// What the list says if it is empty.
fn empty(top: &Top) -> &'static str {
    if top.has_list() { "no live channels" } else { "the channels are not known" }
}

/// The keys, and which channels are on the screen.
fn foot(top: &Top, first: usize, page: usize) -> String {
    let (total, last) = (top.rows().len(), (first + page).min(top.rows().len()));
    let range = if total > page { format!("  {}–{last} of {total}", first + 1) } else { String::new() };
    format!("q quit  s sort: {}{range}  ↑↓ PgUp PgDn scroll", top.order().name())
}

/// How the lines of a screen are shared out: those of the figures, and those of channels. One is for the heading and one
/// for the keys.
fn share(head: usize, height: usize) -> (usize, usize) {
    let rest = height.saturating_sub(2);
    let head = head.min(rest.saturating_sub(MIN_ROWS).max(1)).min(rest);
    (head, rest - head)
}

/// The number of channels on a screen of this size.
pub(super) fn page(top: &Top, width: u16, height: u16) -> usize {
    share(head(top, width.into(), false).len(), height.into()).1
}

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, top: &Top, has_color: bool) {
    let area = frame.area();
    let width = usize::from(area.width);
    let mut lines = head(top, width, has_color);
    let (head, page) = share(lines.len(), area.height.into());
    lines.truncate(head);
    let first = top.first(page);
    lines.push(heading(width));
    if top.rows().is_empty() && page > 0 {
        lines.push(Line::raw(empty(top)));
    }
    lines.extend(top.rows().iter().skip(first).take(page).map(|it| row(it, width, has_color)));
    lines.resize(head + 1 + page, Line::default());
    lines.push(Line::raw(foot(top, first, page)).style(Tone::Label.style(has_color)));
    for (line, y) in lines.iter().zip(area.top()..area.bottom()) {
        frame.buffer_mut().set_line(area.left(), y, line, area.width);
    }
}

/// The same as plain text, with all channels.
pub(super) fn text(top: &Top, width: usize) -> String {
    let mut lines = head(top, width, false);
    lines.push(heading(width));
    if top.rows().is_empty() {
        lines.push(Line::raw(empty(top)));
    }
    lines.extend(top.rows().iter().map(|it| row(it, width, false)));
    lines.iter().map(|line| format!("{}\n", line.to_string().trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};

    use super::*;
    use crate::server::top::state::{
        Command, Fault, Readiness, Sample,
        tests::{away, sample},
    };

    const BEFORE: &str = "aforo_beats_total{act=\"join\"} 0\naforo_store_up 1\naforo_streams_open 12\n\
        aforo_channels_watched 3\naforo_limit_rejections_total{limit=\"joins\"} 0\n\
        aforo_store_call_duration_seconds_bucket{le=\"0.005\"} 0\n\
        aforo_store_call_duration_seconds_bucket{le=\"+Inf\"} 0\n\
        aforo_store_call_duration_seconds_sum 0\naforo_store_call_duration_seconds_count 0\n\
        process_resident_memory_bytes 45000000\n";
    const AFTER: &str = "aforo_beats_total{act=\"join\"} 25\naforo_store_up 1\naforo_streams_open 12\n\
        aforo_channels_watched 3\naforo_limit_rejections_total{limit=\"joins\"} 4\n\
        aforo_store_call_duration_seconds_bucket{le=\"0.005\"} 10\n\
        aforo_store_call_duration_seconds_bucket{le=\"+Inf\"} 10\n\
        aforo_store_call_duration_seconds_sum 0.012\naforo_store_call_duration_seconds_count 10\n\
        process_resident_memory_bytes 45000000\n";

    fn shown(channels: &[(&str, u32)]) -> Top {
        let mut top = Top::new("http://127.0.0.1:3000".to_owned());
        top.take(sample(channels, BEFORE), Duration::from_secs(1));
        top.take(sample(channels, AFTER), Duration::from_secs(2));
        top
    }

    fn drawn(top: &Top, width: u16, height: u16, has_color: bool) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, top, has_color)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..buffer.area.height).map(|y| row(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_screen_of_80_by_24_shows_everything() {
        let screen = lines(&drawn(&shown(&[("ana", 1_234), ("bob", 7)]), 80, 24, true));
        assert_eq!(screen[0], "aforo top http://127.0.0.1:3000  ok");
        assert_eq!(screen[1], "viewers 1,241  channels 2  streams 12  of channels 3");
        assert_eq!(screen[2], "joins/s 25  heartbeats/s —  leaves/s —  counts/s —  refused/s 4  errors/s —");
        assert_eq!(screen[3], "store up  calls/s 10  mean 1.20 ms  p99 ≤5 ms  store errors/s —");
        assert_eq!(screen[4], "database —  mean —  cpu —  memory 45 MB  descriptors —");
        assert!(screen[5].starts_with("CHANNEL ") && screen[5].ends_with("VIEWERS    1 MIN  STATE"));
        assert!(screen[6].starts_with("ana ") && screen[6].ends_with("1,234        0  live"));
        assert!(screen[7].starts_with("bob "));
        assert_eq!(screen[23], "q quit  s sort: viewers  ↑↓ PgUp PgDn scroll");
    }

    #[test]
    fn every_size_of_a_screen_works_and_a_narrow_one_keeps_the_channels() {
        let top = shown(&[("ana", 1_234), ("a-name-that-is-much-too-long-for-this", 7)]);
        for width in 0..100 {
            for height in 0..30 {
                let screen = lines(&drawn(&top, width, height, true));
                assert_eq!(
                    page(&top, width, height),
                    share(head(&top, width.into(), true).len(), height.into()).1
                );
                if width >= 15 && height >= 6 {
                    assert!(
                        screen.iter().any(|line| line.ends_with("1,234") || line.contains("1,234 ")),
                        "{screen:#?}"
                    );
                }
            }
        }
        let narrow = lines(&drawn(&top, 30, 24, true));
        assert!(narrow.contains(&"a-name-that-is-much…         7".to_owned()), "{narrow:#?}");
        // Figures are never cut.
        assert!(narrow.iter().any(|line| line.ends_with("store errors/s —")), "{narrow:#?}");
    }

    #[test]
    fn without_colors_there_are_none_and_faults_are_bold() {
        let mut top = shown(&[("ana", 1)]);
        let colors = |buffer: &Buffer| {
            buffer.content.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
        };
        assert!(colors(&drawn(&top, 80, 24, true)) > 0);
        assert_eq!(colors(&drawn(&top, 80, 24, false)), 0);
        top.take(away(), Duration::from_secs(3));
        let buffer = drawn(&top, 80, 24, false);
        assert_eq!(colors(&buffer), 0);
        assert!(buffer.content.iter().any(|cell| cell.modifier.contains(Modifier::BOLD)));
    }

    #[test]
    fn a_node_that_is_away_is_said_to_be_with_the_last_counts_as_stale() {
        let mut top = shown(&[("ana", 5)]);
        top.take(away(), Duration::from_secs(3));
        top.take(away(), Duration::from_secs(7));
        let screen = lines(&drawn(&top, 100, 24, true));
        assert_eq!(screen[0], "aforo top http://127.0.0.1:3000  AWAY for 4 s: no connection; trying again");
        assert!(screen.iter().any(|line| line.starts_with("store —")), "{screen:#?}");
        assert!(screen.iter().any(|line| line.starts_with("ana ") && line.ends_with("stale")), "{screen:#?}");
        let fresh = lines(&drawn(&Top::new("node".to_owned()), 80, 24, true));
        assert_eq!(fresh[0], "aforo top node  asking…");
        assert!(fresh.iter().any(|line| line == "the channels are not known"));
    }

    #[test]
    fn a_degraded_node_says_why() {
        let mut top = shown(&[]);
        let readiness = Readiness { status: "degraded".to_owned(), reason: Some("store".to_owned()) };
        let degraded = Sample {
            readiness: Ok(readiness),
            channels: Err(Fault::Status(503)),
            ..sample(&[], "aforo_store_up 0\n")
        };
        top.take(degraded, Duration::from_secs(3));
        let screen = lines(&drawn(&top, 80, 24, true));
        assert_eq!(screen[0], "aforo top http://127.0.0.1:3000  degraded: store");
        assert!(screen.iter().any(|line| line.starts_with("store AWAY")), "{screen:#?}");
    }

    #[test]
    fn a_long_list_says_which_part_is_shown() {
        let names: Vec<String> = (100..200).map(|number| format!("c{number}")).collect();
        let channels: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let mut top = shown(&channels);
        let page = page(&top, 80, 24);
        assert_eq!(page, 17);
        top.obey(Command::PageDown, page);
        let screen = lines(&drawn(&top, 80, 24, true));
        assert!(screen[6].starts_with("c117 ") && screen[22].starts_with("c133 "), "{screen:#?}");
        assert_eq!(screen[23], "q quit  s sort: viewers  18–34 of 100  ↑↓ PgUp PgDn scroll");
    }

    #[test]
    fn the_plain_text_has_all_channels_and_no_control_characters() {
        let names: Vec<String> = (100..200).map(|number| format!("c{number}")).collect();
        let channels: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let text = text(&shown(&channels), 100);
        assert!(text.contains("viewers 100  channels 100  streams 12"), "{text}");
        assert!(names.iter().all(|name| text.lines().any(|line| line.starts_with(&format!("{name} ")))));
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
        assert!(super::text(&shown(&[]), 100).ends_with("no live channels\n"));
    }
}
