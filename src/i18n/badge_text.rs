//! The texts of the badge, separate from the texts of the pages so that browsers load only these.

use super::Locale;

/// The texts of the badge, without numbers.
#[derive(Debug)]
pub struct BadgeText {
    /// Marks a stale count.
    pub stale: &'static str,
    /// Replaces an unknown count.
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
