use leptos::prelude::*;

use crate::{api, components::PageRole, domain::ChannelId, i18n::Locale, islands::CounterIsland};

/// The badge with the count of this moment: the page waits for it, so that it is in the first HTML.
///
/// It is awaited in place and not through a resource: nothing is to be handed to the browser, and nothing is spawned that
/// would have to wake the rendering on another thread.
#[component]
pub(super) fn Badge(channel: ChannelId, locale: Locale, role: PageRole) -> impl IntoView {
    Suspend::new(async move {
        let initial = api::count(channel.to_string()).await.ok();
        initial.map(|initial| view! { <CounterIsland initial locale role /> }.into_any())
    })
}
