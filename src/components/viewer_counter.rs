use leptos::prelude::*;

use crate::{
    domain::{CountUpdate, Locale, count::CountState},
    hooks::{
        UseViewerCountOptions, UseViewerTrackerOptions, use_viewer_count_with_options,
        use_viewer_tracker_with_options,
    },
};

/// The badge: a pill with an eye and the number of viewers, in the server's HTML and then live.
///
/// With `track` the page that shows it also counts as a viewer.
#[island]
pub fn ViewerCounter(
    /// The channel, and its count as of now.
    initial: CountUpdate,
    /// The language of its label and its number.
    locale: Locale,
    /// Whether this page is a viewer itself.
    track: bool,
) -> impl IntoView {
    let channel = initial.channel_id.as_str();
    let tracking = UseViewerTrackerOptions::default().immediate(track);
    let tracker = use_viewer_tracker_with_options(channel.to_owned(), tracking);
    let options = UseViewerCountOptions::default().on_event(move || tracker.wake());
    let count = use_viewer_count_with_options(channel, initial.count(), options).count;

    let state = move || count.get().state();
    let number = move || count.get().value.map_or_else(|| "—".to_owned(), |value| locale.number(value));
    let label = move || {
        let viewers = locale.viewers(count.get().value);
        match state() {
            CountState::Stale => format!("{viewers} ({})", locale.words().stale),
            CountState::Live | CountState::Unknown => viewers,
        }
    };
    view! {
        <span class="viewer-counter" role="img" data-state=move || state().as_str() aria-label=label title=label>
            <span class="viewer-counter__dot"></span>
            <svg class="viewer-counter__eye" viewBox="0 0 24 24" aria-hidden="true">
                <path d="M2 12s3.6-7 10-7 10 7 10 7-3.6 7-10 7S2 12 2 12Z"></path>
                <circle cx="12" cy="12" r="3"></circle>
            </svg>
            <span class="viewer-counter__number">{number}</span>
        </span>
    }
}
