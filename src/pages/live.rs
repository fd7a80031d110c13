use leptos::prelude::*;

use super::words::words;
use crate::{
    api,
    domain::{CountUpdate, Locale},
};

/// The channels that are live now, most viewers first: at most `most` of them.
///
/// It is whole without JavaScript. With it, the numbers are kept current by the element that other sites use too
/// (`/widget.js`), and the list by reading it again (`/live-channels.js`): neither needs WebAssembly.
#[component]
pub(super) fn LiveChannels(locale: Locale, most: usize) -> impl IntoView {
    Suspend::new(async move {
        let words = words(locale);
        match api::live(Some(most)).await.map(|live| live.channels) {
            Ok(channels) if channels.is_empty() => view! {
                <p class="live__none">
                    <strong>{words.nobody}</strong>
                    " "
                    {words.nobody_hint}
                </p>
            }
            .into_any(),
            Ok(channels) => {
                let rows = channels.into_iter().map(|update| view! { <Row update locale /> });
                view! { <ol class="live__list">{rows.collect_view()}</ol> }.into_any()
            }
            Err(_) => view! { <p class="live__none">{words.live_unknown}</p> }.into_any(),
        }
    })
}

/// A channel, and its count as a badge that is still; the element around it takes over where scripts run.
#[component]
fn Row(update: CountUpdate, locale: Locale) -> impl IntoView {
    let name = update.channel_id.to_string();
    let page = format!("/{name}");
    let label = locale.viewers(update.count);
    let state = update.count().state().as_str();
    let number = update.count.map_or_else(|| "—".to_owned(), |viewers| locale.number(viewers));
    view! {
        <li class="live__item">
            <a class="live__link" href=page>
                <span class="live__name">{name.clone()}</span>
                <viewer-counter channel=name count=update.count.map(|count| count.to_string())>
                    <span class="viewer-counter" translate="no" role="img" data-state=state aria-label=label>
                        <span class="viewer-counter__dot"></span>
                        <svg class="viewer-counter__eye" viewBox="0 0 24 24" aria-hidden="true">
                            <path d="M2 12s3.6-7 10-7 10 7 10 7-3.6 7-10 7S2 12 2 12Z"></path>
                            <circle cx="12" cy="12" r="3"></circle>
                        </svg>
                        <span class="viewer-counter__number">{number}</span>
                    </span>
                </viewer-counter>
            </a>
        </li>
    }
}
