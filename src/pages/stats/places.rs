//! New viewers by the place where they watch: this site, or the sites that embed the player.

use std::collections::BTreeMap;

use leptos::prelude::*;

use super::Shown;
use crate::{
    i18n::{Locale, stats_text::stats_text},
    server::history::{Point, arrivals::OTHER},
};

/// The most sites that are listed by name. The others are one row.
const MOST_SITES: usize = 12;

/// New viewers by place.
#[component]
pub(super) fn Places(shown: Shown, locale: Locale) -> impl IntoView {
    let text = &stats_text(locale).places;
    let (site, hosts) = totals(&shown.points);
    let all = site + hosts.iter().map(|(_, count)| count).sum::<u64>();
    let row = |name: String, count: u64| {
        view! {
            <tr>
                <th scope="row">{name}</th>
                <td>{locale.large(count)}</td>
                <td>
                    <svg class="places__bar" width="100%" height="8" aria-hidden="true">
                        <rect width=format!("{:.2}%", share(count, all) * 100.0) height="8" rx="2"></rect>
                    </svg>
                    <span class="places__share">{locale.percent(share(count, all))}</span>
                </td>
            </tr>
        }
    };
    let hosts = hosts
        .into_iter()
        .map(|(host, count)| row(if host == OTHER { text.other.to_owned() } else { host }, count));
    let content = if all == 0 {
        view! { <p class="stats__none">{text.none}</p> }.into_any()
    } else {
        view! {
            <table class="places">
                <thead class="visually-hidden">
                    <tr>
                        <th scope="col">{text.place}</th>
                        <th scope="col">{stats_text(locale).figures.new_viewers}</th>
                        <th scope="col">{text.share}</th>
                    </tr>
                </thead>
                <tbody>
                    {row(text.site.to_owned(), site)} {hosts.collect_view()}
                </tbody>
                <tfoot>
                    <tr>
                        <th scope="row">{text.all}</th>
                        <td>{locale.large(all)}</td>
                        <td></td>
                    </tr>
                </tfoot>
            </table>
        }
        .into_any()
    };
    view! {
        <section aria-labelledby="places" data-part="places">
            <h2 class="stats__title" id="places">{text.title}</h2>
            {content}
        </section>
    }
    .into_any()
}

/// The new viewers of this site, and of the others by host, most first. The total is that of all points.
fn totals(points: &[Point]) -> (u64, Vec<(String, u64)>) {
    let arrivals = || points.iter().map(|point| &point.tally.arrivals);
    let site = arrivals().map(|arrivals| u64::from(arrivals.site)).sum();
    let mut hosts = BTreeMap::<&str, u64>::new();
    for (host, count) in arrivals().flat_map(|arrivals| &arrivals.embeds) {
        *hosts.entry(host).or_default() += u64::from(*count);
    }
    let mut other = hosts.remove(OTHER).unwrap_or_default();
    let mut hosts: Vec<_> = hosts.into_iter().map(|(host, count)| (host.to_owned(), count)).collect();
    hosts.sort_by(|(one, more), (other, less)| less.cmp(more).then_with(|| one.cmp(other)));
    other += hosts.drain(MOST_SITES.min(hosts.len())..).map(|(_, count)| count).sum::<u64>();
    if other > 0 {
        hosts.push((OTHER.to_owned(), other));
    }
    (site, hosts)
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn share(count: u64, all: u64) -> f64 {
    count as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Timestamp,
        server::history::{Arrivals, Tally},
    };

    #[test]
    fn places_add_up_to_all_new_viewers() {
        let point = |site, hosts: &[(&str, u32)]| {
            let embeds = hosts.iter().map(|(host, count)| ((*host).into(), *count)).collect();
            let tally = Tally { arrivals: Arrivals { site, embeds }, ..Tally::default() };
            Point { at: Timestamp::from_millis(0), until: Timestamp::from_millis(1), tally, joins: None }
        };
        let points = [
            point(3, &[("news.example", 2), ("blog.example", 2), (OTHER, 1)]),
            point(0, &[("news.example", 5)]),
        ];
        let expected = [("news.example", 7), ("blog.example", 2), (OTHER, 1)];
        assert_eq!(totals(&points), (3, expected.map(|(host, count)| (host.to_owned(), count)).to_vec()));

        let many: Vec<_> = (0..60).map(|n| (format!("{n}.example"), 60 - n)).collect();
        let many: Vec<_> = many.iter().map(|(host, count)| (host.as_str(), *count)).collect();
        let (_, hosts) = totals(&[point(0, &many)]);
        assert_eq!((hosts.len(), hosts[0].1), (MOST_SITES + 1, 60));
        assert_eq!(hosts.iter().map(|(_, count)| count).sum::<u64>(), (1..=60).sum::<u64>());
        assert_eq!(totals(&[]), (0, Vec::new()));
    }
}
