use leptos::prelude::*;

use crate::{api, components::PageRole, domain::ChannelId, i18n::Locale, islands::CounterIsland};

/// Whether only viewers with a ticket count. Then a page may be none, and the badge does not assume that it is one.
#[derive(Debug, Clone, Copy)]
pub struct TicketsRequired(pub bool);

/// The badge with the current count. The page waits for the count, so the first HTML contains it.
///
/// The count is awaited in place instead of through a resource. A resource would be serialized for the browser, and
/// would spawn a task that wakes the rendering on another thread.
#[component]
pub(super) fn Badge(channel: ChannelId, locale: Locale, role: PageRole) -> impl IntoView {
    let role = match (use_context::<TicketsRequired>(), role) {
        (Some(TicketsRequired(true)), PageRole::Viewer) => PageRole::TicketViewer,
        (Some(TicketsRequired(true)), PageRole::CountedElsewhere) => PageRole::Reader,
        _ => role,
    };
    Suspend::new(async move {
        let initial = api::count(channel.to_string()).await.ok();
        initial.map(|initial| view! { <CounterIsland initial locale role /> }.into_any())
    })
}
