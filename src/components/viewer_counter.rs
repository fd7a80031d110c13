use leptos::{context::Provider, prelude::*};

use crate::{
    domain::{CountUpdate, Locale, count::CountState, relay::News},
    hooks::{
        UseViewerCountOptions, UseViewerTrackerOptions, use_handed_over, use_viewer_count_with_options,
        use_viewer_tracker_with_options,
    },
    platform::Handover,
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

impl PageRole {
    const ALL: [Self; 3] = [Self::Viewer, Self::CountedElsewhere, Self::Reader];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::CountedElsewhere => "counted-elsewhere",
            Self::Reader => "reader",
        }
    }
}

/// What a badge starts from.
#[derive(Debug, Clone)]
struct Badge {
    initial: News,
    locale: Locale,
    role: PageRole,
}

impl Handover for Badge {
    const CLASS: &str = "viewer-counter";

    fn write(&self) -> String {
        [self.role.as_str(), self.locale.as_str(), &self.initial.write()].join(" ")
    }

    fn read(text: &str) -> Option<Self> {
        let (role, text) = text.split_once(' ')?;
        let (locale, initial) = text.split_once(' ')?;
        Some(Self {
            initial: News::read(initial)?,
            locale: Locale::ALL.into_iter().find(|known| known.as_str() == locale)?,
            role: PageRole::ALL.into_iter().find(|known| known.as_str() == role)?,
        })
    }
}

/// The badge: a pill with an eye and the number of viewers, in the server's HTML and then live.
///
/// On the page of a viewer it never reads 0: whoever looks at it is watching, even before the join has come back.
#[component]
pub fn ViewerCounter(
    /// The channel, and its count as of now.
    initial: CountUpdate,
    /// The language of its label and its number.
    locale: Locale,
    /// What the page is to the channel.
    role: PageRole,
) -> impl IntoView {
    let initial = News { channel: initial.channel_id.to_string(), count: initial.count() };
    view! {
        <Provider value=Badge { initial, locale, role }>
            <Counter />
        </Provider>
    }
}

#[island]
fn Counter() -> impl IntoView {
    let (badge, handed_over) = use_handed_over::<Badge>();
    let Badge { initial, locale, role } = badge?;
    // The tracker before the count, so that its leave goes out before the stream is closed.
    let tracking = UseViewerTrackerOptions::default().immediate(role == PageRole::Viewer);
    let tracker = use_viewer_tracker_with_options(initial.channel.clone(), tracking);
    let options = UseViewerCountOptions::default()
        .on_event(move || tracker.wake())
        .while_hidden(role == PageRole::Viewer);
    let count = use_viewer_count_with_options(&initial.channel, initial.count, options).count;

    let least = u32::from(role != PageRole::Reader);
    let viewers = move || count.get().value.map(|value| value.max(least));
    let state = move || count.get().state();
    let number = move || viewers().map_or_else(|| "—".to_owned(), |viewers| locale.number(viewers));
    let label = move || {
        let viewers = locale.viewers(viewers());
        match state() {
            CountState::Stale => [&viewers, " (", locale.words().stale, ")"].concat(),
            CountState::Live | CountState::Unknown => viewers,
        }
    };
    Some(view! {
        <span class=Badge::CLASS data-island=handed_over translate="no" role="img" data-state=move || state().as_str() aria-label=label title=label>
            <span class="viewer-counter__dot"></span>
            <svg class="viewer-counter__eye" viewBox="0 0 24 24" aria-hidden="true">
                <path d="M2 12s3.6-7 10-7 10 7 10 7-3.6 7-10 7S2 12 2 12Z"></path>
                <circle cx="12" cy="12" r="3"></circle>
            </svg>
            // Its content as a whole: what translates a page replaces the text in it, before this runs or later.
            <span class="viewer-counter__number" inner_html=number></span>
        </span>
    })
}
