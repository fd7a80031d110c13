//! The languages of the pages: selection, number format and the label of the badge. The default is Spanish.

use super::badge_text::badge_text;
use serde::{Deserialize, Serialize};

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Locale {
    /// Spanish, the default.
    #[default]
    Es,
    /// English.
    En,
    /// Portuguese, as in Brazil.
    Pt,
}

impl Locale {
    /// Every language.
    pub const ALL: [Self; 3] = [Self::Es, Self::En, Self::Pt];

    /// The best supported language for an `Accept-Language` header (RFC 9110, section 12.5.4): the highest weight wins,
    /// and the first of equal weights.
    #[must_use]
    pub fn from_accept_language(header: &str) -> Self {
        let mut best = (0.0, Self::default());
        for range in header.split(',') {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let weight = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
            });
            let weight =
                weight.map_or(1.0, |weight| if (0.0..=1.0).contains(&weight) { weight } else { 0.0 });
            if let Some(locale) = Self::from_tag(tag)
                && weight > best.0
            {
                best = (weight, locale);
            }
        }
        best.1
    }

    /// The language of a tag such as `es-MX`, if it is supported.
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Self> {
        let language = tag.split('-').next().unwrap_or_default();
        Self::ALL.into_iter().find(|locale| language.eq_ignore_ascii_case(locale.as_str()))
    }

    /// The language tag, for `lang` attributes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es => "es",
            Self::En => "en",
            Self::Pt => "pt",
        }
    }

    /// Formats a number with grouped thousands, as in the Unicode CLDR. Spanish doesn't group four digits
    /// (`minimumGroupingDigits` 2).
    #[must_use]
    pub fn number(self, number: u32) -> String {
        self.group(&number.to_string())
    }

    /// Groups digits.
    pub(super) fn group(self, digits: &str) -> String {
        let (separator, min_digits) = match self {
            Self::Es => ('.', 5),
            Self::En => (',', 4),
            Self::Pt => ('.', 4),
        };
        if digits.len() < min_digits {
            return digits.to_owned();
        }
        let mut grouped = String::with_capacity(digits.len() + 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                grouped.push(separator);
            }
            grouped.push(digit);
        }
        grouped
    }

    /// The label of the badge for screen readers, such as "1 espectador" or "5 espectadores".
    #[must_use]
    pub fn viewers(self, count: Option<u32>) -> String {
        let Some(count) = count else {
            return badge_text(self).unknown.to_owned();
        };
        [&self.number(count), " ", self.viewers_noun(count)].concat()
    }

    /// The noun after a number.
    #[must_use]
    pub const fn viewers_noun(self, count: u32) -> &'static str {
        match (self, count) {
            (Self::En, 1) => "viewer",
            (Self::En, _) => "viewers",
            (Self::Es, 1) | (Self::Pt, 0 | 1) => "espectador",
            (Self::Es | Self::Pt, _) => "espectadores",
        }
    }

    /// The noun beside a number that is shown separately.
    #[must_use]
    pub const fn viewers_label(self) -> &'static str {
        match self {
            Self::En => "viewers",
            Self::Es | Self::Pt => "espectadores",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_language_of_the_header_is_selected() {
        for (header, locale) in [
            ("", Locale::Es),
            ("de", Locale::Es),
            ("en", Locale::En),
            ("EN-us,en;q=0.9", Locale::En),
            ("de, pt-BR;q=0.8, en;q=0.9", Locale::En),
            ("es-MX,es;q=0.9,en;q=0.8", Locale::Es),
            ("pt;q=0, en;q=0", Locale::Es),
            ("pt;Q=0.2, en;q=0.9", Locale::En),
            ("pt;q=7, en;q=inf, es;q=0.1", Locale::Es),
            ("en;q=oops, pt", Locale::Pt),
            (";;;,,,q=", Locale::Es),
        ] {
            assert_eq!(Locale::from_accept_language(header), locale, "{header:?}");
        }
    }

    #[test]
    fn numbers_are_grouped_by_language() {
        for (number, es, en) in [
            (0, "0", "0"),
            (999, "999", "999"),
            (1_234, "1234", "1,234"),
            (12_345, "12.345", "12,345"),
            (1_234_567, "1.234.567", "1,234,567"),
            (u32::MAX, "4.294.967.295", "4,294,967,295"),
        ] {
            assert_eq!(Locale::Es.number(number), es);
            assert_eq!(Locale::En.number(number), en);
        }
        assert_eq!(Locale::Pt.number(1_234), "1.234");
    }

    #[test]
    fn the_label_is_singular_for_one() {
        assert_eq!(Locale::Es.viewers(Some(1)), "1 espectador");
        assert_eq!(Locale::Es.viewers(Some(5)), "5 espectadores");
        assert_eq!(Locale::En.viewers(Some(1_000)), "1,000 viewers");
        assert_eq!(Locale::Pt.viewers(Some(0)), "0 espectador");
        assert_eq!(Locale::Es.viewers(None), "número de espectadores no disponible");
    }
}
