use leptos::prelude::*;

use super::about::SiteOrigin;
use crate::{
    domain::ChannelId,
    i18n::{Locale, page_text::page_text},
};

/// The size of an embedded player, in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedSize {
    /// The width.
    pub width: u32,
    /// The height.
    pub height: u32,
}

impl EmbedSize {
    /// 640×360: large enough for a video in a column of text.
    pub const DEFAULT: Self = Self { width: 640, height: 360 };

    /// The largest size with the same aspect ratio that is not larger than this one, and no wider or higher than the
    /// given numbers. At least one pixel.
    #[must_use]
    pub fn within(self, max_width: u32, max_height: u32) -> Self {
        let (full_width, full_height) = (u64::from(self.width), u64::from(self.height));
        let width = full_width.min(max_width.into()).min(u64::from(max_height) * full_width / full_height);
        let scaled = |length: u64| u32::try_from(length.max(1)).unwrap_or(u32::MAX);
        Self { width: scaled(width), height: scaled(width * full_height / full_width) }
    }
}

/// The HTML that embeds the player of a channel with the badge.
#[must_use]
pub fn embed_code(origin: &str, channel: &ChannelId, size: EmbedSize) -> String {
    // The name of a host may contain `&`, but no quotes or angle brackets (`server::http::preflight`).
    let origin = origin.replace('&', "&amp;");
    let EmbedSize { width, height } = size;
    format!(
        r#"<iframe src="{origin}/embed/{channel}?counter=1" title="{channel}" width="{width}" height="{height}" allowfullscreen></iframe>"#
    )
}

/// The share box of a channel: its link, and the code that embeds its player.
///
/// Visitors can select and copy both. Where scripts run, the element `<share-box>` (`/share.js`) shows buttons.
#[component]
pub(super) fn Share(channel: ChannelId, locale: Locale) -> impl IntoView {
    let text = &page_text(locale).share;
    // Without an origin the links are relative, and the script completes them.
    let SiteOrigin(origin) = use_context().unwrap_or_else(|| SiteOrigin(String::new()));
    let link = format!("{origin}/{channel}");
    let code = embed_code(&origin, &channel, EmbedSize::DEFAULT);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embed_fits_into_its_limits_at_its_aspect_ratio() {
        for (limits, size) in [
            ((u32::MAX, u32::MAX), (640, 360)),
            ((640, 360), (640, 360)),
            ((320, u32::MAX), (320, 180)),
            ((u32::MAX, 90), (160, 90)),
            ((500, 500), (500, 281)),
            ((500, 90), (160, 90)),
            ((1, 1), (1, 1)),
        ] {
            let EmbedSize { width, height } = EmbedSize::DEFAULT.within(limits.0, limits.1);
            assert_eq!((width, height), size, "{limits:?}");
        }
    }

    #[test]
    fn the_code_is_one_frame() {
        let channel = ChannelId::parse("ana").unwrap();
        let size = EmbedSize { width: 320, height: 180 };
        assert_eq!(
            embed_code("https://a&quot;.test", &channel, size),
            r#"<iframe src="https://a&amp;quot;.test/embed/ana?counter=1" title="ana" width="320" height="180" allowfullscreen></iframe>"#
        );
    }
}
