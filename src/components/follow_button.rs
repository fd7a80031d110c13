use leptos::prelude::*;

use crate::{domain::ChannelId, i18n::Locale};

/// Follows a channel and says how many do: a heart and the number in one button.
///
/// It is a plain form, which works as it is. Where scripts run, the element around it (`/follow-button.js`) makes it answer
/// at once; that needs no island, so the browser's half is none the larger. Whether this browser follows is not in here:
/// the page is the same for all. The script knows it, and without one the styles tell when the form has just been sent.
#[component]
pub fn FollowButton(
    /// The channel.
    channel: ChannelId,
    /// How many follow it as of now; `None` when unknown.
    followers: Option<u32>,
    /// The language of its number.
    locale: Locale,
    /// Its name for screen readers, in front of the number.
    label: &'static str,
) -> impl IntoView {
    let number = followers.map_or_else(|| "—".to_owned(), |followers| locale.number(followers));
    view! {
        <follow-button followers=followers.map(|followers| followers.to_string())>
            <form method="post" action="/api/channel/follow">
                <input type="hidden" name="channelId" value=channel.to_string() />
                <button class="follow-button" id="following">
                    <svg class="follow-button__heart" viewBox="0 0 24 24" aria-hidden="true">
                        <path d="M12 20.5S3 15 3 8.8A4.8 4.8 0 0 1 12 6.5 4.8 4.8 0 0 1 21 8.8c0 6.2-9 11.7-9 11.7Z"></path>
                    </svg>
                    <span class="visually-hidden">{label}" "</span>
                    <span class="follow-button__number">{number}</span>
                </button>
            </form>
        </follow-button>
        <script type="module" src="/follow-button.js"></script>
    }
}
