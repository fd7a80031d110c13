use leptos::prelude::*;
use leptos_meta::{Link, Meta};

use super::request::use_locale;

/// The origin of this site as seen by the visitor, such as `https://your.site`. Shared links contain it.
#[derive(Debug, Clone)]
pub struct SiteOrigin(pub String);

/// The metadata of a page for search engines and link previews (<https://ogp.me>).
#[component]
pub(super) fn About(
    /// The title of the page.
    title: String,
    /// The content of the page in one sentence.
    description: String,
    /// The canonical path of the page.
    path: String,
) -> impl IntoView {
    let url = use_context::<SiteOrigin>().map_or_else(|| path.clone(), |SiteOrigin(origin)| origin + &path);
    view! {
        <Link rel="canonical" href=url.clone() />
        <Meta name="description" content=description.clone() />
        <Meta property="og:type" content="website" />
        <Meta property="og:site_name" content="Aforo" />
        <Meta property="og:locale" content=use_locale().as_str() />
        <Meta property="og:title" content=title />
        <Meta property="og:description" content=description />
        <Meta property="og:url" content=url />
    }
}
