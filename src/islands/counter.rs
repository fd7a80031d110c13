use leptos::{context::Provider, prelude::*};

use crate::{
    browser::tab_sync::CountMessage,
    components::{
        PageRole,
        viewer_counter::{badge, eye},
    },
    domain::{ChannelId, Count, CountUpdate},
    i18n::Locale,
    platform::{self, IslandProps},
};

/// The words for roles, where they are handed over.
const ROLES: [(PageRole, &str); 3] = [
    (PageRole::Viewer, "viewer"),
    (PageRole::CountedElsewhere, "counted-elsewhere"),
    (PageRole::Reader, "reader"),
];

/// What a badge starts from.
#[derive(Debug, Clone)]
struct Badge {
    channel: ChannelId,
    count: Count,
    locale: Locale,
    role: PageRole,
}

impl IslandProps for Badge {
    const CLASS: &str = "viewer-counter";

    fn write(&self) -> String {
        let role = ROLES.into_iter().find(|(role, _)| *role == self.role).map_or("", |(_, word)| word);
        let news = CountMessage { channel: self.channel.as_str().to_owned(), count: self.count };
        [role, self.locale.as_str(), &news.write()].join(" ")
    }

    fn read(text: &str) -> Option<Self> {
        let (role, text) = text.split_once(' ')?;
        let (locale, news) = text.split_once(' ')?;
        let CountMessage { channel, count } = CountMessage::read(news)?;
        Some(Self {
            channel: ChannelId::parse(&channel).ok()?,
            count,
            locale: Locale::ALL.into_iter().find(|known| known.as_str() == locale)?,
            role: ROLES.into_iter().find(|(_, word)| *word == role)?.0,
        })
    }
}

/// [`ViewerCounter`](crate::components::ViewerCounter) as an island, whose number is in the server's HTML.
#[component]
pub fn CounterIsland(
    /// The channel, and its count as of now.
    initial: CountUpdate,
    /// The language of its label and its number.
    locale: Locale,
    /// What the page is to the channel.
    role: PageRole,
) -> impl IntoView {
    let count = initial.count();
    view! {
        <Provider value=Badge { channel: initial.channel_id, count, locale, role }>
            <Counter />
        </Provider>
    }
}

#[island]
fn Counter() -> impl IntoView {
    let (handed, island_props) = platform::island_props::<Badge>();
    let Badge { channel, count, locale, role } = handed?;
    Some(badge(channel, Some(count), locale, role, eye(), island_props))
}
