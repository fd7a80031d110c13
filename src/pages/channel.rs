use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use super::{NotFoundPage, player::Player};
use crate::{api, components::ViewerCounter, domain::ChannelId, hooks::use_locale};

/// `/{channel}`: the player, and how many are watching. Who opens it is a viewer.
#[component]
pub fn ChannelPage() -> impl IntoView {
    let name = use_params_map().read_untracked().get("channel").unwrap_or_default();
    let Ok(channel) = ChannelId::parse(&name) else {
        return Either::Left(view! { <NotFoundPage /> });
    };
    let locale = use_locale();
    let count = OnceResource::new_blocking(api::count(channel.to_string()));
    let title = channel.to_string();
    Either::Right(view! {
        <Title text=title.clone() />
        <main class="channel">
            <Player channel locale />
            <header class="channel__bar">
                <h1 class="channel__name">{title}</h1>
                <Suspense>
                    {move || Suspend::new(async move {
                        count.await.ok().map(|initial| view! { <ViewerCounter initial locale track=true /> })
                    })}
                </Suspense>
            </header>
        </main>
    })
}
