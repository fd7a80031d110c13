//! Access to the request that a page answers, and to the response.

use axum::http::{StatusCode, header::ACCEPT_LANGUAGE, request::Parts};
use leptos::prelude::use_context;
use leptos_axum::ResponseOptions;

use crate::i18n::Locale;

/// The visitor's language, selected by the request's `Accept-Language`.
#[must_use]
pub fn use_locale() -> Locale {
    let parts = use_context::<Parts>();
    let header = parts.as_ref().and_then(|parts| parts.headers.get(ACCEPT_LANGUAGE)?.to_str().ok());
    Locale::from_accept_language(header.unwrap_or_default())
}

/// Sets the status of the response to 404.
pub fn use_not_found() {
    if let Some(response) = use_context::<ResponseOptions>() {
        response.set_status(StatusCode::NOT_FOUND);
    }
}
