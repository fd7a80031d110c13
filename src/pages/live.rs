use leptos::prelude::*;

use super::{name::breakable, pill::Pill};
use crate::{
    api,
    domain::{ChannelId, CountUpdate, LiveMode},
    i18n::{Locale, page_text::page_text},
};

/// The list of live channels, with the most viewers first. Contains at most `most` channels.
///
/// The list is complete without JavaScript. With JavaScript, the element `<viewer-counter>` (`/widget.js`) updates the
/// numbers, and `/live-channels.js` reloads the list. Neither needs WebAssembly.
#[component]
pub(super) fn LiveChannels(locale: Locale, most: usize) -> impl IntoView {
    let is_by_signal = use_context::<LiveMode>() == Some(LiveMode::Signal);
    Suspend::new(async move {
        let text = page_text(locale);
        let (none, hint) = if is_by_signal {
            (text.none_on_air, text.none_on_air_hint)
        } else {
            (text.no_viewers, text.no_viewers_hint)
        };
        match api::live(Some(most)).await.map(|live| live.channels) {
            Ok(channels) if channels.is_empty() => view! {
                <p class="live__none">
                    <strong>{none}</strong>
                    " "
                    {hint}
                </p>
            }
            .into_any(),
            Ok(channels) => {
                let rows = channels.into_iter().map(|update| view! { <Row update locale /> });
                view! { <ol class="live__list">{rows.collect_view()}</ol> }.into_any()
            }
            Err(_) => view! { <p class="live__none">{text.live_unknown}</p> }.into_any(),
        }
    })
}

/// A channel with a static badge. Where scripts run, the element around the badge updates it.
#[component]
fn Row(update: CountUpdate, locale: Locale) -> impl IntoView {
    let name = update.channel_id.to_string();
    let page = format!("/{name}");
    view! {
        <li class="live__item">
            <a class="live__link" href=page>
                <span class="live__name" inner_html=breakable(&update.channel_id)></span>
                <viewer-counter channel=name count=update.count.map(|count| count.to_string())>
                    <Pill count=update.count() locale />
                </viewer-counter>
            </a>
        </li>
    }
}

/// Links to at most `most` other live channels, for the page of `channel`. Renders nothing without any.
///
/// The links have no numbers, because numbers would need updates.
#[component]
pub(super) fn OtherChannels(channel: ChannelId, locale: Locale, most: usize) -> impl IntoView {
    Suspend::new(async move {
        let live = api::live(Some(most + 1)).await.map(|live| live.channels).unwrap_or_default();
        let others: Vec<_> =
            live.into_iter().filter(|update| update.channel_id != channel).take(most).collect();
        (!others.is_empty()).then(|| {
            let links = others.into_iter().map(|CountUpdate { channel_id, .. }| {
                view! {
                    <li>
                        <a class="button" href=format!("/{channel_id}") inner_html=breakable(&channel_id)></a>
                    </li>
                }
            });
            view! {
                <section class="also-live" aria-labelledby="also-live">
                    <h2 class="section-title" id="also-live">{page_text(locale).also_live}</h2>
                    <ul class="also-live__list">{links.collect_view()}</ul>
                </section>
            }
            .into_any()
        })
    })
}
