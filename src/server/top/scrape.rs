//! Reads the Prometheus text format, as far as Aforo writes it: one sample a line, without times.

use std::collections::HashMap;

/// The most series that are kept. A node has about two hundred; what answers at the address may be something else.
const MAX_SERIES: usize = 5_000;

/// The prefixes of the metrics that are kept.
const PREFIXES: [&str; 2] = ["aforo_", "process_"];

/// The values of all series of one reading.
#[derive(Debug, Clone, Default)]
pub(super) struct Scrape(HashMap<String, f64>);

impl Scrape {
    /// Reads the text of `/metrics`. Lines that are no samples are left out. `None` if nothing is from Aforo.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let is_kept = PREFIXES.iter().any(|prefix| series.starts_with(prefix));
            Some((series.to_owned(), value.parse::<f64>().ok().filter(|value| is_kept && value.is_finite())?))
        });
        let samples: HashMap<_, _> = samples.take(MAX_SERIES).collect();
        samples.keys().any(|series| series.starts_with("aforo_")).then_some(Self(samples))
    }

    /// The value of a series, by its name with its labels.
    pub(super) fn value(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// The sum of all series of a metric.
    pub(super) fn sum(&self, metric: &str) -> Option<f64> {
        let is_of_metric = |series: &str| {
            series.strip_prefix(metric).is_some_and(|labels| labels.is_empty() || labels.starts_with('{'))
        };
        let values = self.0.iter().filter(|(series, _)| is_of_metric(series)).map(|(_, value)| value);
        values.copied().reduce(|a, b| a + b)
    }

    /// The buckets of a histogram: upper bounds and the number of observations up to each, in order.
    fn buckets(&self, histogram: &str) -> Vec<(f64, f64)> {
        let start = format!("{histogram}_bucket{{le=\"");
        let bound = |series: &str| -> Option<f64> {
            let bound = series.strip_prefix(&start)?.strip_suffix("\"}")?;
            if bound == "+Inf" { Some(f64::INFINITY) } else { bound.parse().ok() }
        };
        let mut buckets: Vec<_> =
            self.0.iter().filter_map(|(series, count)| Some((bound(series)?, *count))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

/// Two readings of one node, and the time between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) before: &'a Scrape,
    pub(super) after: &'a Scrape,
    pub(super) seconds: f64,
}

impl Span<'_> {
    /// How much a counter has grown. `None` if the node has started again in between.
    fn growth(self, read: impl Fn(&Scrape) -> Option<f64>) -> Option<f64> {
        let (before, after) = (read(self.before)?, read(self.after)?);
        (after >= before).then_some(after - before)
    }

    /// The rate of a counter per second, summed over its series.
    pub(super) fn rate(self, metric: &str) -> Option<f64> {
        let growth = self.growth(|scrape| scrape.sum(metric))?;
        (self.seconds > 0.0).then(|| growth / self.seconds)
    }

    /// The rate of one series per second.
    pub(super) fn rate_of(self, series: &str) -> Option<f64> {
        let growth = self.growth(|scrape| scrape.value(series))?;
        (self.seconds > 0.0).then(|| growth / self.seconds)
    }

    /// The mean of the observations of a histogram. `None` if there were none.
    pub(super) fn mean(self, histogram: &str) -> Option<f64> {
        let count = self.growth(|scrape| scrape.value(&format!("{histogram}_count")))?;
        let sum = self.growth(|scrape| scrape.value(&format!("{histogram}_sum")))?;
        (count > 0.0).then(|| sum / count)
    }

    /// The upper bound of the bucket that holds this quantile of the observations; infinite above the last bound.
    pub(super) fn quantile(self, histogram: &str, quantile: f64) -> Option<f64> {
        let (before, after) = (self.before.buckets(histogram), self.after.buckets(histogram));
        let grown: Vec<(f64, f64)> =
            before.iter().zip(&after).map(|(before, after)| (after.0, after.1 - before.1)).collect();
        let total = grown.last().filter(|_| before.len() == after.len())?.1;
        (total > 0.0).then_some(())?;
        grown.iter().find(|(_, count)| *count >= quantile * total).map(|(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# HELP aforo_beats_total Beats\n# TYPE aforo_beats_total counter\n\
        aforo_beats_total{act=\"join\"} 10\naforo_beats_total{act=\"leave\"} 1\n\
        aforo_t_bucket{le=\"0.001\"} 4\naforo_t_bucket{le=\"0.01\"} 4\naforo_t_bucket{le=\"+Inf\"} 4\n\
        aforo_t_sum 0.002\naforo_t_count 4\nprocess_open_fds 12\nother_total 7\naforo_broken x\naforo_nan NaN\n";
    const AFTER: &str = "aforo_beats_total{act=\"join\"} 30\naforo_beats_total{act=\"leave\"} 1\n\
        aforo_t_bucket{le=\"0.001\"} 4\naforo_t_bucket{le=\"0.01\"} 103\naforo_t_bucket{le=\"+Inf\"} 104\n\
        aforo_t_sum 0.502\naforo_t_count 104\nprocess_open_fds 12\n";

    #[test]
    fn samples_are_read_and_the_rest_is_left_out() {
        let scrape = Scrape::parse(BEFORE).unwrap();
        assert_eq!(scrape.value("process_open_fds"), Some(12.0));
        assert_eq!(scrape.sum("aforo_beats_total"), Some(11.0));
        for absent in ["other_total", "aforo_broken", "aforo_nan", "aforo_beats", "# HELP"] {
            assert_eq!((scrape.value(absent), scrape.sum(absent)), (None, None), "{absent}");
        }
        for other in ["", "<!DOCTYPE html>\n<p>hello", "process_open_fds 12", "aforo_x", "aforo_x y"] {
            assert!(Scrape::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let text: String = (0..2 * MAX_SERIES).map(|number| format!("aforo_{number} 1\n")).collect();
        assert_eq!(Scrape::parse(&text).unwrap().0.len(), MAX_SERIES);
    }

    #[test]
    fn rates_and_durations_are_those_between_two_readings() {
        let (before, after) = (Scrape::parse(BEFORE).unwrap(), Scrape::parse(AFTER).unwrap());
        let span = Span { before: &before, after: &after, seconds: 2.0 };
        assert_eq!(span.rate("aforo_beats_total"), Some(10.0));
        assert_eq!(span.rate_of("aforo_beats_total{act=\"leave\"}"), Some(0.0));
        assert_eq!(span.mean("aforo_t"), Some(0.005));
        assert_eq!(span.quantile("aforo_t", 0.5), Some(0.01));
        assert_eq!(span.quantile("aforo_t", 0.999), Some(f64::INFINITY));
    }

    #[test]
    fn nothing_is_computed_from_a_node_that_has_restarted_or_was_idle() {
        let (before, after) = (Scrape::parse(BEFORE).unwrap(), Scrape::parse(AFTER).unwrap());
        let restarted = Span { before: &after, after: &before, seconds: 1.0 };
        assert_eq!(restarted.rate("aforo_beats_total"), None);
        assert_eq!(restarted.mean("aforo_t"), None);
        assert_eq!(restarted.quantile("aforo_t", 0.99), None);
        let idle = Span { before: &after, after: &after, seconds: 1.0 };
        assert_eq!((idle.mean("aforo_t"), idle.quantile("aforo_t", 0.99)), (None, None));
        assert_eq!(Span { seconds: 0.0, ..idle }.rate("aforo_beats_total"), None);
    }
}
