use leptos::prelude::*;

use crate::{
    api,
    components::FollowButton,
    domain::ChannelId,
    i18n::{Locale, page_text::page_text},
};

/// The follow button with the current number of followers in the first HTML. The HTML is the same for all visitors, so
/// it doesn't contain whether this visitor follows the channel.
#[component]
pub(super) fn Follow(channel: ChannelId, locale: Locale) -> impl IntoView {
    Suspend::new(async move {
        let followers = api::followers(channel.to_string()).await.ok().map(|count| count.followers);
        let label = page_text(locale).follow;
        view! { <FollowButton channel followers locale label /> }.into_any()
    })
}
