use leptos::{prelude::*, tachys::view::add_attr::AddAnyAttr};

use crate::{
    domain::{ChannelId, Count, count::CountState},
    hooks::{Channel, UseViewerCountOptions, UseViewerTrackerOptions, count_of, track},
    i18n::{Locale, badge_text::badge_text},
};

/// What the page with a badge on it is to the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRole {
    /// A viewer, and the badge sees to it that it is counted.
    Viewer,
    /// A viewer that another component counts, such as [`EmbedViewerTracker`](super::EmbedViewerTracker).
    CountedElsewhere,
    /// No viewer: it only shows the number.
    Reader,
}

/// The badge: a pill with an eye and the number of viewers, live.
///
/// On the page of a viewer it never reads 0: whoever looks at it is watching, even before the join has come back.
///
/// When the channel changes, the viewer moves on to the new one, whose number is unknown until the first news.
#[component]
pub fn ViewerCounter(
    /// The channel.
    #[prop(into)]
    channel: Signal<ChannelId>,
    /// Its count as of now, if it is known.
    #[prop(optional_no_strip, into)]
    initial: Option<Count>,
    /// The language of its label and its number.
    #[prop(optional)]
    locale: Locale,
    /// What the page is to the channel.
    role: PageRole,
) -> impl IntoView {
    // As it is without styles; style sheets win over these.
    let eye = eye()
        .add_any_attr(leptos::attr::width("16"))
        .add_any_attr(leptos::attr::custom::custom_attribute("fill", "none"))
        .add_any_attr(leptos::attr::custom::custom_attribute("stroke", "currentColor"));
    badge(channel, initial, locale, role, eye, None)
}

/// The eye of a badge, as large as the styles say.
pub(crate) fn eye() -> impl IntoView {
    view! {
        <svg class="viewer-counter__eye" viewBox="0 0 24 24" aria-hidden="true">
            <path d="M2 12s3.6-7 10-7 10 7 10 7-3.6 7-10 7S2 12 2 12Z"></path>
            <circle cx="12" cy="12" r="3"></circle>
        </svg>
    }
}

/// The badge, with this eye and, in an island, with what the server hands over to it.
pub(crate) fn badge(
    channel: impl Channel,
    initial: Option<Count>,
    locale: Locale,
    role: PageRole,
    eye: impl IntoView,
    island_props: Option<String>,
) -> impl IntoView {
    // The tracker before the count, so that its leave goes out before the stream is closed.
    let tracking = UseViewerTrackerOptions::default().immediate(role == PageRole::Viewer);
    let tracker = track(channel.clone(), tracking);
    let options = UseViewerCountOptions::default()
        .on_event(move || tracker.wake())
        .while_hidden(role == PageRole::Viewer);
    let count = count_of(channel, initial, options).count;

    let least = u32::from(role != PageRole::Reader);
    let viewers = move || count.get().value.map(|value| value.max(least));
    let state = move || count.get().state();
    let number = move || viewers().map_or_else(|| "—".to_owned(), |viewers| locale.number(viewers));
    let label = move || {
        let viewers = locale.viewers(viewers());
        match state() {
            CountState::Stale => [&viewers, " (", badge_text(locale).stale, ")"].concat(),
            CountState::Live | CountState::Unknown => viewers,
        }
    };
    view! {
        <span class="viewer-counter" data-island=island_props translate="no" role="img" data-state=move || state().as_str() aria-label=label title=label>
            <span class="viewer-counter__dot"></span>
            {eye}
            // Its content as a whole: what translates a page replaces the text in it, before this runs or later.
            <span class="viewer-counter__number" inner_html=number></span>
        </span>
    }
}
