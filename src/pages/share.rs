use leptos::prelude::*;

use super::about::SiteOrigin;
use crate::{
    domain::ChannelId,
    i18n::{Locale, page_text::page_text},
};

/// The share box of a channel: its link, and the code that embeds its player.
///
/// Visitors can select and copy both. Where scripts run, the element `<share-box>` (`/share.js`) shows buttons.
#[component]
pub(super) fn Share(channel: ChannelId, locale: Locale) -> impl IntoView {
    let text = &page_text(locale).share;
    // Without an origin the links are relative, and the script completes them.
    let SiteOrigin(origin) = use_context().unwrap_or_else(|| SiteOrigin(String::new()));
    let link = format!("{origin}/{channel}");
    let code = format!(
        r#"<iframe src="{origin}/embed/{channel}?counter=1" title="{channel}" width="640" height="360" allowfullscreen></iframe>"#
    );
    view! {
        <section class="share" aria-labelledby="share">
            <h2 class="section-title" id="share">{text.title}</h2>
            <share-box class="share__box" data-copied=text.copied>
                <label class="share__label" for="share-link">{text.link}</label>
                <span class="share__row">
                    <input class="field" id="share-link" readonly value=link />
                    <button class="button" type="button" data-copy="share-link" hidden>{text.copy}</button>
                    <button class="button" type="button" data-share="share-link" hidden>{text.share}</button>
                </span>
                <label class="share__label" for="share-code">{text.embed}</label>
                <span class="share__row">
                    <input class="field field--code" id="share-code" readonly value=code />
                    <button class="button" type="button" data-copy="share-code" hidden>{text.copy}</button>
                </span>
                <span class="visually-hidden" role="status"></span>
            </share-box>
        </section>
        <script type="module" src="/share.js"></script>
    }
    .into_any()
}
