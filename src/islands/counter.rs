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

/// The names of the roles in the island's attribute.
const ROLES: [(PageRole, &str); 4] = [
    (PageRole::Viewer, "viewer"),
    (PageRole::TicketViewer, "ticket-viewer"),
    (PageRole::CountedElsewhere, "counted-elsewhere"),
    (PageRole::Reader, "reader"),
];

/// The props of the badge island.
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
        let message =
            CountMessage { channel: self.channel.as_str().to_owned(), count: self.count, live: None };
        [role, self.locale.as_str(), &message.write()].join(" ")
    }

    fn read(text: &str) -> Option<Self> {
        let (role, text) = text.split_once(' ')?;
        let (locale, message) = text.split_once(' ')?;
        let CountMessage { channel, count, .. } = CountMessage::read(message)?;
        Some(Self {
            channel: ChannelId::parse(&channel).ok()?,
            count,
            locale: Locale::ALL.into_iter().find(|known| known.as_str() == locale)?,
            role: ROLES.into_iter().find(|(_, word)| *word == role)?.0,
        })
    }
}

/// [`ViewerCounter`](crate::components::ViewerCounter) as an island. The server's HTML contains the number.
#[component]
pub fn CounterIsland(
    /// The channel with its current count.
    initial: CountUpdate,
    /// The language of the label and the number.
    locale: Locale,
    /// The role of the page.
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
    let (props, island_props) = platform::island_props::<Badge>();
    let Badge { channel, count, locale, role } = props?;
    Some(badge(channel, Some(count), locale, role, platform::page_ticket(), eye(), island_props))
}
