use leptos::prelude::*;

use crate::{api, components::PageRole, domain::ChannelId, i18n::Locale, islands::CounterIsland};

/// The badge with the current count. The page waits for the count, so the first HTML contains it.
///
/// The count is awaited in place instead of through a resource. A resource would be serialized for the browser, and
/// would spawn a task that wakes the rendering on another thread.
#[component]
pub(super) fn Badge(channel: ChannelId, locale: Locale, role: PageRole) -> impl IntoView {
    Suspend::new(async move {
        let initial = api::count(channel.to_string()).await.ok();
        initial.map(|initial| view! { <CounterIsland initial locale role /> }.into_any())
    })
}
