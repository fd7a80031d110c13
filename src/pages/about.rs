use leptos::prelude::*;
use leptos_meta::{Link, Meta};

use super::request::use_locale;

/// Where the visitor has found this site, as in `https://your.site`. What is shared names whole addresses.
#[derive(Debug, Clone)]
pub struct SiteOrigin(pub String);

/// What search engines and previews of links are told of a page (<https://ogp.me>).
#[component]
pub(super) fn About(
    /// The name of the page.
    title: String,
    /// What is on it, in a sentence.
    description: String,
    /// Its one address on this site.
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
