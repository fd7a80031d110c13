use leptos::{either::Either, nonce::use_nonce, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};

use super::{
    pill::Pill,
    request::{use_locale, use_not_found},
};
use crate::{
    api,
    domain::{ChannelId, Count, Timestamp},
    i18n::{Locale, badge_text::badge_text, page_text::page_text},
};

/// The styles. Inline, because the overlay must not be seen without them.
const STYLES: &str = include_str!("../../style/overlay.css");

/// The script that loads `/overlay.js`, from client/src/overlay-start.ts. Its header comment is not sent.
const START: &str = include_str!("overlay.js");

/// The most milestones of an overlay.
const MAX_MILESTONES: usize = 20;

/// The head of the overlay: its own styles, and none of the site's.
#[component]
pub fn OverlayHead() -> impl IntoView {
    let styles = STYLES.split_once("*/").map_or(STYLES, |(_, styles)| styles.trim());
    view! {
        <meta name="robots" content="noindex" />
        <style>{styles}</style>
    }
    .into_any()
}

/// `/overlay/{channel}`: the badge alone on a transparent page, for OBS and other programs that mix a stream. The page
/// doesn't count as a viewer. `?milestones=100,500` makes it celebrate when the count first reaches one of them.
#[component]
pub fn OverlayPage() -> impl IntoView {
    let locale = use_locale();
    let name = use_params_map().read_untracked().get("channel").unwrap_or_default();
    let Ok(channel) = ChannelId::parse(&name) else {
        use_not_found();
        let text = page_text(locale);
        return Either::Left(view! {
            <Title text=text.invalid_name />
            <p class="overlay__error">{text.invalid_name} ". " {text.name_hint}</p>
        });
    };
    let wanted = use_query_map().read_untracked().get("milestones").unwrap_or_default();
    let milestones = milestones(&wanted);
    Either::Right(
        view! {
            <Title text=channel.to_string() />
            <Overlay channel milestones locale />
            <script type="module" nonce=use_nonce()>
                {START.split_once("*/").map_or(START, |(_, code)| code.trim())}
            </script>
        }
        .into_any(),
    )
}

/// The badge, with all that the script needs to update it.
#[component]
fn Overlay(channel: ChannelId, milestones: Vec<u32>, locale: Locale) -> impl IntoView {
    let milestones = milestones.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let text = badge_text(locale);
    Suspend::new(async move {
        let count = api::count(channel.to_string()).await;
        let count = count.map_or(Count::unknown(Timestamp::default()), |update| update.count());
        view! {
            <main
                class="overlay"
                data-channel=channel.to_string()
                data-count=count.value().map(|viewers| viewers.to_string())
                data-milestones=milestones
                data-one=locale.viewers_noun(1)
                data-many=locale.viewers_label()
                data-stale=text.stale
                data-unknown=text.unknown
            >
                <Pill count locale />
            </main>
        }
        .into_any()
    })
}

/// The milestones in a query: whole numbers above 0, ascending, each once, and [`MAX_MILESTONES`] at most. Everything
/// else is ignored, because an overlay must not show an error on a running broadcast.
fn milestones(text: &str) -> Vec<u32> {
    let mut found: Vec<u32> =
        text.split(',').filter_map(|part| part.trim().parse().ok()).filter(|number| *number > 0).collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_MILESTONES);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milestones_are_whole_numbers_in_ascending_order() {
        for (text, expected) in [
            ("100,500,1000", &[100, 500, 1_000][..]),
            (" 500 , 100,500", &[100, 500]),
            ("", &[]),
            ("0,-5,1.5,1e3,abc,99999999999,\"><b>,7", &[7]),
            (",,,", &[]),
        ] {
            assert_eq!(milestones(text), expected, "{text:?}");
        }
        let many: Vec<_> = (1..=1_000).map(|number: u32| number.to_string()).collect();
        assert_eq!(milestones(&many.join(",")), (1..=20).collect::<Vec<_>>());
    }
}
