//! The texts of the badge. They are apart from the texts of pages, so that the browser loads no more than these.

use super::Locale;

/// The texts of the badge, apart from numbers.
#[derive(Debug)]
pub struct BadgeText {
    /// Marks a count that is not current.
    pub stale: &'static str,
    /// Replaces a count that is not known.
    pub unknown: &'static str,
}

/// The texts of the badge in a language.
#[must_use]
pub const fn badge_text(locale: Locale) -> &'static BadgeText {
    match locale {
        Locale::Es => {
            &BadgeText { stale: "dato de hace un momento", unknown: "número de espectadores no disponible" }
        }
        Locale::En => &BadgeText { stale: "from a moment ago", unknown: "viewer count unavailable" },
        Locale::Pt => {
            &BadgeText { stale: "dado de há pouco", unknown: "número de espectadores indisponível" }
        }
    }
}
