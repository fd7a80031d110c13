//! The broadcasts of a channel, each with all figures.

use leptos::prelude::*;

use super::{figures::FigureList, links::Links, times::Times};
use crate::{domain::Timestamp, i18n::stats_text::stats_text, server::history::Figures};

/// A page of the list of broadcasts. `older`: where the next page begins, if there is one.
#[component]
pub(super) fn Broadcasts(
    broadcasts: Vec<Figures>,
    older: Option<Timestamp>,
    is_first: bool,
    times: Times,
    links: Links,
) -> impl IntoView {
    let text = &stats_text(times.locale).broadcasts;
    let none = broadcasts.is_empty().then(|| view! { <p class="stats__none">{text.none}</p> });
    let rows = broadcasts.into_iter().map(|figures| {
        let Figures { started_at, ended_at, .. } = figures;
        let when = match ended_at {
            Some(ended_at) => times.span(started_at, ended_at),
            None => times.date_and_time(started_at),
        };
        let on_air =
            ended_at.is_none().then(|| view! { <strong class="broadcast__on-air">{text.on_air}</strong> });
        view! {
            <li class="broadcast">
                <p class="broadcast__when">
                    <a href=links.broadcast(started_at)>{when}</a>
                    " "
                    {on_air}
                    " "
                    <span class="broadcast__length">{times.length(started_at, ended_at)}</span>
                </p>
                <FigureList figures=Some(figures) times=times.clone() is_main=false />
            </li>
        }
    });
    let rows = rows.collect_view();
    let newest = (!is_first).then(|| view! { <a class="button" href=links.before(None)>{text.newest}</a> });
    let older = older.map(|before| {
        view! { <a class="button" href=links.before(Some(before))>{text.older}</a> }
    });
    view! {
        <section aria-labelledby="broadcasts" data-part="broadcasts">
            <h2 class="stats__title" id="broadcasts">{text.title}</h2>
            {none}
            <ol class="broadcasts">{rows}</ol>
            <p class="stats__pages">{newest} {older}</p>
        </section>
    }
    .into_any()
}
