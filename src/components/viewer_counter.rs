use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{CountUpdate, Locale, count::CountState},
    hooks::{
        UseViewerCountOptions, UseViewerTrackerOptions, use_viewer_count_with_options,
        use_viewer_tracker_with_options,
    },
};

/// What the page with a badge on it is to the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageRole {
    /// A viewer, and the badge sees to it that it is counted.
    Viewer,
    /// A viewer that another component counts, such as [`EmbedViewerTracker`](super::EmbedViewerTracker).
    CountedElsewhere,
    /// No viewer: it only shows the number.
    Reader,
}

/// The badge: a pill with an eye and the number of viewers, in the server's HTML and then live.
///
/// On the page of a viewer it never reads 0: whoever looks at it is watching, even before the join has come back.
#[island]
pub fn ViewerCounter(
    /// The channel, and its count as of now.
    initial: CountUpdate,
    /// The language of its label and its number.
    locale: Locale,
    /// What the page is to the channel.
    role: PageRole,
) -> impl IntoView {
    let channel = initial.channel_id.as_str();
    let tracking = UseViewerTrackerOptions::default().immediate(role == PageRole::Viewer);
    let tracker = use_viewer_tracker_with_options(channel.to_owned(), tracking);
    let options = UseViewerCountOptions::default().on_event(move || tracker.wake());
    let count = use_viewer_count_with_options(channel, initial.count(), options).count;

    let least = u32::from(role != PageRole::Reader);
    let viewers = move || count.get().value.map(|value| value.max(least));
    let state = move || count.get().state();
    let number = move || viewers().map_or_else(|| "—".to_owned(), |viewers| locale.number(viewers));
    let label = move || {
        let viewers = locale.viewers(viewers());
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
