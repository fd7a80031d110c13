use crate::{domain::Locale, platform};

/// The visitor's language, of those that the pages speak.
///
/// ## Server-Side Rendering
/// Chosen by the request's `Accept-Language`. In the browser it is Spanish: hand the server's choice to islands as a
/// property.
#[must_use]
pub fn use_locale() -> Locale {
    Locale::from_accept_language(&platform::accept_language())
}
