//! Access to the request that a page answers, and to the response.

use axum::{
    extract::Query,
    http::{StatusCode, header::ACCEPT_LANGUAGE, request::Parts},
};
use leptos::prelude::use_context;
use leptos_axum::ResponseOptions;
use serde::Deserialize;

use crate::i18n::Locale;

/// The path of overlays, before the name of the channel.
const OVERLAY: &str = "/overlay/";

/// The visitor's language, selected by the request's `Accept-Language`. For an overlay, `?locale=` takes precedence: the
/// language is that of the broadcast, and not of the program that mixes it.
#[must_use]
pub fn use_locale() -> Locale {
    #[derive(Deserialize)]
    struct Wanted {
        locale: String,
    }
    let parts = use_context::<Parts>();
    if let Some(parts) = parts.as_ref().filter(|parts| is_overlay(parts.uri.path()))
        && let Ok(Query(Wanted { locale })) = Query::try_from_uri(&parts.uri)
        && let Some(locale) = Locale::from_tag(&locale)
    {
        return locale;
    }
    let header = parts.as_ref().and_then(|parts| parts.headers.get(ACCEPT_LANGUAGE)?.to_str().ok());
    Locale::from_accept_language(header.unwrap_or_default())
}

/// Whether the page is the overlay of a channel.
#[must_use]
pub fn use_is_overlay() -> bool {
    use_context::<Parts>().is_some_and(|parts| is_overlay(parts.uri.path()))
}

/// Whether a path is that of an overlay.
#[must_use]
pub fn is_overlay(path: &str) -> bool {
    path.strip_prefix(OVERLAY).is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Sets the status of the response to 404.
pub fn use_not_found() {
    if let Some(response) = use_context::<ResponseOptions>() {
        response.set_status(StatusCode::NOT_FOUND);
    }
}
