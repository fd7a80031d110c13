//! The follow button: a form that a script enhances.

use leptos::prelude::*;

use crate::{domain::ChannelId, i18n::Locale};

/// The follow button of a channel: a heart and the number of followers.
///
/// The button is a plain form and works without scripts. With scripts, the element around it (`/follow-button.js`)
/// updates it at once. It needs no island and adds nothing to the WebAssembly. The HTML is the same for all visitors,
/// so it doesn't contain whether this browser follows the channel: the script shows that. Without scripts, an image of
/// the server covers the hollow heart with a filled one if this browser follows.
#[component]
pub fn FollowButton(
    /// The channel.
    channel: ChannelId,
    /// The current number of followers; `None` if unknown.
    followers: Option<u32>,
    /// The language of the number.
    locale: Locale,
    /// The label for screen readers, read before the number.
    label: &'static str,
) -> impl IntoView {
    let number = followers.map_or_else(|| "—".to_owned(), |followers| locale.number(followers));
    let heart = format!("/api/channel/follow/{channel}/heart.svg");
    view! {
        <follow-button followers=followers.map(|followers| followers.to_string())>
            <form method="post" action="/api/channel/follow">
                <input type="hidden" name="channelId" value=channel.to_string() />
                <button class="follow-button">
                    <svg class="follow-button__heart" viewBox="0 0 24 24" aria-hidden="true">
                        <path d="M12 20.5S3 15 3 8.8A4.8 4.8 0 0 1 12 6.5 4.8 4.8 0 0 1 21 8.8c0 6.2-9 11.7-9 11.7Z"></path>
                    </svg>
                    <noscript>
                        <img class="follow-button__following" src=heart width="20" height="20" alt="" />
                    </noscript>
                    <span class="visually-hidden">{label}" "</span>
                    <span class="follow-button__number">{number}</span>
                </button>
            </form>
        </follow-button>
        <script type="module" src="/follow-button.js"></script>
    }
}
