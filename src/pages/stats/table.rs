//! The table behind a chart: every step with its figures.

use std::fmt::Write as _;

use leptos::prelude::*;

use super::{
    Shown,
    figures::UNKNOWN,
    times::{Times, offset, time},
};
use crate::i18n::stats_text::TableText;

/// A table that can be opened. The script reads the values of an instant from it.
#[component]
pub(super) fn Table(shown: Shown, times: Times, text: &'static TableText) -> impl IntoView {
    view! {
        <details class="table" id="table">
            <summary id="open-table">{text.title}</summary>
            <div class="table__space" id="scroll-table" tabindex="0" role="region" aria-label=text.title>
                <table>
                    <thead>
                        <tr>
                            <th scope="col">{text.instant}</th>
                            <th scope="col">{text.min}</th>
                            <th scope="col">{text.average}</th>
                            <th scope="col">{text.max}</th>
                            <th scope="col">{text.new_viewers}</th>
                            <th scope="col">{text.observed}</th>
                        </tr>
                    </thead>
                    <tbody data-rows inner_html=rows(&shown, &times)></tbody>
                </table>
            </div>
        </details>
    }
}

/// The rows as HTML. A range has up to 1,500 of them, so they are written without a component each. Numbers, dates and
/// times contain no characters that need escaping.
fn rows(shown: &Shown, times: &Times) -> String {
    let locale = times.locale;
    let (first, last) = (times.zone.wall(shown.from), times.zone.wall(shown.to));
    let mut rows = String::new();
    for point in &shown.points {
        let wall = times.zone.wall(point.at);
        let mut label = time(&wall);
        if shown.step < 60 {
            label = format!("{label}:{:02}", wall.second);
        }
        if !first.is_same_day(&last) {
            label = format!("{}, {label}", times.date(&wall));
        }
        // Where clocks are set back, times repeat.
        if first.offset != last.offset {
            label = format!("{label} ({})", offset(&wall));
        }
        let [min, average, max] = match point.counts() {
            Some((min, average, max)) => [locale.number(min), locale.mean(average), locale.number(max)],
            None => [UNKNOWN; 3].map(str::to_owned),
        };
        let new_viewers = locale.large(point.tally.arrivals.total());
        let observed = locale.percent(point.observed(times.now));
        // Writing into a string does not fail.
        let _written = write!(
            rows,
            r#"<tr><th scope="row">{label}</th><td>{min}</td><td>{average}</td><td>{max}</td><td>{new_viewers}</td><td>{observed}</td></tr>"#
        );
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Timestamp,
        i18n::Locale,
        pages::stats::{Range, chart::tests::history},
        server::history::{Figures, Sketch, Span, Tally, Zone},
    };

    #[test]
    fn unknown_steps_are_dashes_and_repeated_times_have_their_offset() {
        // The night in which clocks are set back: 02:00 to 03:00 comes twice.
        let from = Timestamp::from_millis(1_792_886_400_000);
        let zone = Zone::parse("Europe/Madrid").unwrap();
        let (to, points) =
            history(from, 1_800, &[Some((1_234, 1_234)), None, Some((0, 1)), Some((2, 2)), None]);
        let figures = Figures::new(Span::new(from, to), None, &Tally::default(), &Sketch::default());
        let shown = Shown { range: Range::Day, is_newest: false, from, to, step: 1_800, figures, points };
        let rows = rows(&shown, &Times::new(zone, Locale::En, to));
        let texts: Vec<Vec<_>> = rows
            .split("<tr>")
            .skip(1)
            .map(|row| row.split('<').filter_map(|cell| cell.split_once('>')).map(|(_, text)| text))
            .map(|row| row.filter(|text| !text.is_empty()).collect())
            .collect();
        assert_eq!(texts[0], ["02:00 (UTC+2)", "1,234", "1,234", "1,234", "0", "100%"]);
        assert_eq!(texts[1], ["02:30 (UTC+2)", "—", "—", "—", "0", "0%"]);
        assert_eq!(texts[2], ["02:00 (UTC+1)", "0", "0.5", "1", "0", "100%"]);
        assert_eq!(texts.len(), 5);
    }
}
