//! The badge with the number of viewers.

use leptos::{prelude::*, tachys::view::add_attr::AddAnyAttr};

use crate::{
    domain::{ChannelId, Count, count::CountState},
    hooks::{Channel, UseViewerCountOptions, UseViewerTrackerOptions, count_of, track},
    i18n::{Locale, badge_text::badge_text},
};

/// The role of the page that shows a badge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRole {
    /// The page is a viewer, and the badge counts it.
    Viewer,
    /// The page is a viewer if it has a ticket, because the server requires tickets of all viewers.
    TicketViewer,
    /// The page is a viewer that another component counts, such as [`EmbedViewerTracker`](super::EmbedViewerTracker).
    CountedElsewhere,
    /// The page only shows the number and is not a viewer.
    Reader,
}

/// The badge: a pill with an eye and the live number of viewers.
///
/// On the page of a viewer the badge shows at least 1, because the page itself is a viewer, even before its join is
/// answered. Where viewers need tickets, it shows what the server says.
///
/// When the channel changes, the viewer joins the new channel. The number is unknown until the first count of the new
/// channel arrives.
#[component]
pub fn ViewerCounter(
    /// The channel.
    #[prop(into)]
    channel: Signal<ChannelId>,
    /// The current count, if known.
    #[prop(optional_no_strip, into)]
    initial: Option<Count>,
    /// The language of the label and the number.
    #[prop(optional)]
    locale: Locale,
    /// The role of the page.
    role: PageRole,
    /// The ticket of your backend that says who the viewer is.
    #[prop(optional, into)]
    ticket: String,
) -> impl IntoView {
    // The look without styles. Style sheets override these attributes.
    let eye = eye()
        .add_any_attr(leptos::attr::width("16"))
        .add_any_attr(leptos::attr::custom::custom_attribute("fill", "none"))
        .add_any_attr(leptos::attr::custom::custom_attribute("stroke", "currentColor"));
    badge(channel, initial, locale, role, ticket, eye, None)
}

/// The eye of a badge. The styles set its size.
pub(crate) fn eye() -> impl IntoView {
    view! {
        <svg class="viewer-counter__eye" viewBox="0 0 24 24" aria-hidden="true">
            <path d="M2 12s3.6-7 10-7 10 7 10 7-3.6 7-10 7S2 12 2 12Z"></path>
            <circle cx="12" cy="12" r="3"></circle>
        </svg>
    }
}

/// The badge with the given eye and, in an island, the text of its [`IslandProps`](crate::platform::IslandProps).
pub(crate) fn badge(
    channel: impl Channel,
    initial: Option<Count>,
    locale: Locale,
    role: PageRole,
    ticket: String,
    eye: impl IntoView,
    island_props: Option<String>,
) -> impl IntoView {
    // Create the tracker before the count, so that the leave is sent before the stream is closed.
    let is_viewer = matches!(role, PageRole::Viewer | PageRole::TicketViewer);
    let tracking = UseViewerTrackerOptions::default().immediate(is_viewer).ticket(ticket);
    let tracker = track(channel.clone(), tracking);
    let options = UseViewerCountOptions::default().on_event(move || tracker.wake()).while_hidden(is_viewer);
    let count = count_of(channel, initial, options).count;

    let minimum = u32::from(matches!(role, PageRole::Viewer | PageRole::CountedElsewhere));
    let viewers = move || count.get().value().map(|value| value.max(minimum));
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
            // Set the content as a whole, because page translators replace the text node inside.
            <span class="viewer-counter__number" inner_html=number></span>
        </span>
    }
}
