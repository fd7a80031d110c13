use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use super::{
    InvalidNamePage, about::About, badge::Badge, brand::Brand, browser_scripts::BrowserScripts,
    follow::Follow, live::OtherChannels, name::breakable, note::Note, player::Player, request::use_locale,
    share::Share, stats::StatsLink,
};
use crate::{
    components::PageRole,
    domain::ChannelId,
    i18n::{Locale, page_text::page_text, stats_text::stats_text},
};

/// The maximum number of other live channels listed.
const MAX_OTHERS: usize = 8;

/// `/{channel}`: the player, the viewer count and the follow button. The page counts as a viewer.
#[component]
pub fn ChannelPage() -> impl IntoView {
    let name = use_params_map().read_untracked().get("channel").unwrap_or_default();
    let Ok(channel) = ChannelId::parse(&name) else {
        return Either::Left(view! { <InvalidNamePage /> });
    };
    let locale = use_locale();
    let title = channel.to_string();
    let description = [&title, page_text(locale).channel_about].concat();
    let path = ["/", &title].concat();
    Either::Right(
        view! {
            <Title text=title.clone() />
            <About title description path is_embeddable=true />
            <BrowserScripts />
            <Brand />
            <main class="channel">
                <Player channel=channel.clone() locale />
                <header class="channel__bar">
                    <h1 class="channel__name" inner_html=breakable(&channel)></h1>
                    <div class="channel__actions">
                        <Badge channel=channel.clone() locale role=PageRole::Viewer />
                        <Follow channel=channel.clone() locale />
                    </div>
                </header>
                <Note locale />
                <div class="channel__more">
                    <div>
                        <Share channel=channel.clone() locale />
                        {stats_link(&channel, locale)}
                    </div>
                    <OtherChannels channel locale most=MAX_OTHERS />
                </div>
            </main>
        }
        .into_any(),
    )
}

/// The link to the statistics, where everyone may see them.
fn stats_link(channel: &ChannelId, locale: Locale) -> Option<impl IntoView + use<>> {
    use_context::<StatsLink>()?;
    let page = format!("/{channel}/stats");
    Some(view! {
        <p class="channel__stats">
            <a href=page>{stats_text(locale).link}</a>
        </p>
    })
}
