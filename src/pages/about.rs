use leptos::prelude::*;
use leptos_meta::{Link, Meta};

use super::request::use_locale;

/// The origin of this site as seen by the visitor, such as `https://your.site`. Shared links contain it.
#[derive(Debug, Clone)]
pub struct SiteOrigin(pub String);

/// The picture of link previews, 1200×630 pixels.
const PREVIEW: &str = "/preview.png";

/// The metadata of a page for search engines and link previews (<https://ogp.me>).
#[component]
pub(super) fn About(
    /// The title of the page.
    title: String,
    /// The content of the page in one sentence.
    description: String,
    /// The canonical path of the page.
    path: String,
    /// Whether the page can be embedded by its URL (`/oembed`).
    #[prop(optional)]
    is_embeddable: bool,
) -> impl IntoView {
    let origin = use_context::<SiteOrigin>().map(|SiteOrigin(origin)| origin);
    let url = origin.as_ref().map_or_else(|| path.clone(), |origin| [origin.as_str(), &path].concat());
    let absolute = origin.map(|origin| {
        let oembed = is_embeddable.then(|| {
            let query = serde_urlencoded::to_string([("url", url.as_str()), ("format", "json")]);
            let href = [&origin, "/oembed?", &query.unwrap_or_default()].concat();
            view! { <Link rel="alternate" type_="application/json+oembed" href title=title.clone() /> }
        });
        view! {
            {oembed}
            <Meta property="og:image" content=[&origin, PREVIEW].concat() />
            <Meta property="og:image:width" content="1200" />
            <Meta property="og:image:height" content="630" />
            <Meta property="og:image:alt" content="Aforo" />
            <Meta name="twitter:card" content="summary_large_image" />
        }
    });
    view! {
        <Link rel="canonical" href=url.clone() />
        <Meta name="description" content=description.clone() />
        <Meta property="og:type" content="website" />
        <Meta property="og:site_name" content="Aforo" />
        <Meta property="og:locale" content=use_locale().as_str() />
        <Meta property="og:title" content=title />
        <Meta property="og:description" content=description />
        <Meta property="og:url" content=url />
        {absolute}
    }
}
