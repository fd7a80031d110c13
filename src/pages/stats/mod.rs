//! `/{channel}/stats`: the statistics of a channel, for its streamer, who leaves the page open beside the stream.
//!
//! The server loads a [`Statistics`] for whoever may see them and hands it to the page; without it the page says what is
//! needed, and nothing about the channel. The page is complete without JavaScript. `/stats.js` keeps it current: counts
//! and figures over a stream, the parts with `data-part` by fetching the page again. All that the script needs is in
//! attributes of the page.

mod broadcasts;
mod chart;
mod figures;
mod links;
mod meaning;
mod model;
mod places;
mod table;
mod times;
mod viewers;
mod zones;

use leptos::prelude::*;
use leptos_meta::{Meta, Title};
use leptos_router::hooks::use_params_map;

pub use self::model::{Asked, Kept, Range, Shown, Statistics};
use self::{
    broadcasts::Broadcasts, figures::FigureList, links::Links, meaning::Meaning, places::Places,
    times::Times, viewers::Viewers, zones::ZoneForm,
};
use super::{InvalidNamePage, brand::Brand, name::breakable, note::Note, pill::Pill, request::use_locale};
use crate::{
    domain::ChannelId,
    i18n::{
        Locale,
        badge_text::badge_text,
        stats_text::{StatsText, stats_text},
    },
    server::history::{Figures, sketch::EXACT},
};

/// In context where everyone may see statistics, so that the pages of channels link to them.
#[derive(Debug, Clone, Copy)]
pub struct StatsLink;

/// `/{channel}/stats`.
#[component]
pub fn StatsPage() -> impl IntoView {
    let name = use_params_map().read_untracked().get("channel").unwrap_or_default();
    let Ok(channel) = ChannelId::parse(&name) else {
        return view! { <InvalidNamePage /> }.into_any();
    };
    match use_context::<Statistics>() {
        Some(statistics) => view! { <Page channel statistics /> }.into_any(),
        None => view! { <Refused /> }.into_any(),
    }
}

/// The page for those who may not see the statistics. It is the same for every channel.
#[component]
fn Refused() -> impl IntoView {
    let text = stats_text(use_locale());
    view! {
        <Title text=text.title />
        <Meta name="robots" content="noindex" />
        <Brand />
        <main class="home">
            <h1 class="home__name">{text.refused}</h1>
            <p>{text.refused_hint}</p>
        </main>
    }
}

#[component]
fn Page(channel: ChannelId, statistics: Statistics) -> impl IntoView {
    let locale = use_locale();
    let text = stats_text(locale);
    let Statistics { count, now, zone, asked, kept } = statistics;
    let times = Times::new(zone.clone(), locale, now);
    let links = Links::new(&channel, &asked);
    let newest = kept.as_ref().and_then(|kept| kept.newest.clone());
    let is_known = kept.is_some();
    let figures = kept.iter().flat_map(|kept| {
        kept.newest.iter().chain(kept.shown.as_ref().map(|shown| &shown.figures)).chain(&kept.broadcasts)
    });
    let has_joins = figures.into_iter().any(|figures| figures.joins.is_some());
    let is_never = is_known && newest.is_none();
    let content = match kept {
        None => view! { <Away links=links.clone() text /> }.into_any(),
        Some(Kept { newest: None, .. }) => {
            let hint = text.never_hint;
            view! {
                <p class="stats__message" data-part="viewers" data-never>
                    {hint}
                </p>
            }
            .into_any()
        }
        Some(Kept { shown, broadcasts, has_older, newest: Some(newest) }) => {
            let older = broadcasts.last().filter(|_| has_older).map(|last| last.started_at);
            let arrivals = shown.clone();
            view! {
                <Ranges links=links.clone() newest shown=shown.clone() text />
                {shown.map(|shown| view! { <Viewers shown times=times.clone() links=links.clone() /> })}
                {arrivals.map(|shown| view! { <Places shown locale /> })}
                <Broadcasts broadcasts older is_first=asked.before.is_none() times=times.clone() links=links.clone() />
            }
            .into_any()
        }
    };
    let name = channel.to_string();
    let home = format!("/{name}");
    let title = format!("{name} · {}", text.title);
    let (badge, viewers) = (badge_text(locale), locale.viewers(Some(2)));
    let many = viewers.split_once(' ').map_or_else(String::new, |(_, noun)| noun.to_owned());
    let one = locale.viewers(Some(1)).split_once(' ').map_or_else(String::new, |(_, noun)| noun.to_owned());
    view! {
        <Title text=title />
        <Meta name="robots" content="noindex" />
        <Brand />
        <main
            class="stats"
            data-channel=name.clone()
            data-count=count.value().map(|value| value.to_string())
            data-token=asked.token.clone()
            data-zone=zone.name().to_owned()
            data-known=is_known.to_string()
            data-months=locale.months()
            data-exact=EXACT.to_string()
            data-one=one
            data-many=many
            data-stale=badge.stale
            data-unknown=badge.unknown
            data-on-air=text.on_air
            data-was-on-air=text.was_on_air
            data-this=text.this_broadcast
            data-last=text.last_broadcast
            data-outdated=text.outdated
        >
            <header class="stats__head">
                <h1 class="stats__name">
                    <a href=home inner_html=breakable(&channel)></a>
                    " "
                    <span class="stats__kicker">{text.title}</span>
                </h1>
                <Pill count locale />
            </header>
            <p class="stats__since" data-since>{since(newest.as_ref(), is_known, &times, locale)}</p>
            <Note locale />
            <p class="note stats__outdated" data-outdated-note role="status" hidden></p>
            <section aria-labelledby="now" data-part="now" hidden=is_never>
                <h2 class="stats__title" id="now" data-now>
                    {title_of(newest.as_ref(), text)}
                </h2>
                <FigureList figures=newest times=times.clone() is_main=true />
            </section>
            {content}
            <Meaning text has_joins />
            <ZoneForm times links />
        </main>
        <script type="module" src="/stats.js"></script>
    }
}

/// The title of the newest broadcast: whether it goes on.
fn title_of(newest: Option<&Figures>, text: &StatsText) -> &'static str {
    match newest {
        Some(Figures { ended_at: Some(_), .. }) => text.last_broadcast,
        _ => text.this_broadcast,
    }
}

/// Since when the channel is on air, or when it was.
fn since(newest: Option<&Figures>, is_known: bool, times: &Times, locale: Locale) -> String {
    let text = stats_text(locale);
    let Some(Figures { started_at, ended_at, .. }) = newest else {
        return if is_known { text.never.to_owned() } else { String::new() };
    };
    let (pattern, when) = match ended_at {
        None => (text.on_air, times.instant(*started_at)),
        Some(ended_at) => (text.was_on_air, times.span(*started_at, *ended_at)),
    };
    let length = times.length(*started_at, *ended_at);
    pattern.replace("{when}", &when).replace("{length}", &length)
}

/// The database does not answer. The number of now is there all the same.
#[component]
fn Away(links: Links, text: &'static StatsText) -> impl IntoView {
    view! {
        <p class="stats__message" data-part="viewers" role="status">
            {text.away}
            " "
            <a href=links.here()>{text.reload}</a>
        </p>
    }
}

/// The links to the ranges.
#[component]
fn Ranges(links: Links, newest: Figures, shown: Option<Shown>, text: &'static StatsText) -> impl IntoView {
    let broadcast = if newest.ended_at.is_none() { text.this_broadcast } else { text.last_broadcast };
    let link = |range: Range, label: &'static str| {
        let is_current = shown
            .as_ref()
            .is_some_and(|shown| shown.range == range && (range != Range::Broadcast || shown.is_newest));
        view! {
            <a
                class="tabs__tab"
                id=format!("tab-{}", range.as_str())
                href=links.range(range)
                aria-current=is_current.then_some("page")
            >
                {label}
            </a>
        }
    };
    view! {
        <nav class="tabs" aria-label=text.range data-part="ranges">
            {link(Range::Broadcast, broadcast)} {link(Range::Day, text.day)} {link(Range::Week, text.week)}
            {link(Range::Month, text.month)}
        </nav>
    }
}
