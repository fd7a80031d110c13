//! The languages of the pages: their words, and how they write numbers. Spanish first.

use serde::{Deserialize, Serialize};

/// A language that the pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Locale {
    /// Spanish, also for whoever asks for none of the others.
    #[default]
    Es,
    /// English.
    En,
    /// Portuguese, as in Brazil.
    Pt,
}

impl Locale {
    /// The best of ours for an `Accept-Language` header (RFC 9110, section 12.5.4): the highest weight wins, the first
    /// of equals.
    #[must_use]
    pub fn from_accept_language(header: &str) -> Self {
        let mut best = (0.0, Self::default());
        for range in header.split(',') {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let weight = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0));
            if let Some(locale) = Self::from_tag(tag)
                && weight > best.0
            {
                best = (weight, locale);
            }
        }
        best.1
    }

    fn from_tag(tag: &str) -> Option<Self> {
        let language = tag.split('-').next().unwrap_or_default();
        [Self::Es, Self::En, Self::Pt]
            .into_iter()
            .find(|locale| language.eq_ignore_ascii_case(locale.as_str()))
    }

    /// Its language tag, for `lang`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es => "es",
            Self::En => "en",
            Self::Pt => "pt",
        }
    }

    /// A number with its thousands grouped as the Unicode CLDR says: Spanish leaves four digits together
    /// (`minimumGroupingDigits` 2), the others don't.
    #[must_use]
    pub fn number(self, number: u32) -> String {
        let digits = number.to_string();
        let (separator, shortest) = match self {
            Self::Es => ('.', 5),
            Self::En => (',', 4),
            Self::Pt => ('.', 4),
        };
        if digits.len() < shortest {
            return digits;
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

    /// The badge's name for screen readers: "1 espectador", "5 espectadores".
    #[must_use]
    pub fn viewers(self, count: Option<u32>) -> String {
        let Some(count) = count else {
            return self.words().unknown_count.to_owned();
        };
        let noun = match (self, count) {
            (Self::En, 1) => "viewer",
            (Self::En, _) => "viewers",
            (Self::Es, 1) | (Self::Pt, 0 | 1) => "espectador",
            (Self::Es | Self::Pt, _) => "espectadores",
        };
        format!("{} {noun}", self.number(count))
    }

    /// The words of the pages.
    #[must_use]
    pub const fn words(self) -> &'static Words {
        match self {
            Self::Es => &Words {
                tagline: "Cuánta gente está mirando, ahora mismo",
                open_channel: "Abrir un canal",
                channel_name: "Nombre del canal",
                open: "Abrir",
                player_of: "Reproductor de",
                offline: "Aquí se verá la transmisión",
                stale: "dato de hace un momento",
                unknown_count: "espectadores: sin datos",
                not_found: "Esta página no existe",
                not_found_hint: "Un canal se llama con 1 a 64 letras, números, puntos, guiones o guiones bajos.",
                home: "Ir al inicio",
            },
            Self::En => &Words {
                tagline: "How many people are watching, right now",
                open_channel: "Open a channel",
                channel_name: "Channel name",
                open: "Open",
                player_of: "Player of",
                offline: "The stream will show here",
                stale: "from a moment ago",
                unknown_count: "viewers: not known",
                not_found: "There is no such page",
                not_found_hint: "A channel's name is 1 to 64 letters, digits, dots, hyphens or underscores.",
                home: "Go to the start",
            },
            Self::Pt => &Words {
                tagline: "Quanta gente está assistindo, agora mesmo",
                open_channel: "Abrir um canal",
                channel_name: "Nome do canal",
                open: "Abrir",
                player_of: "Player de",
                offline: "A transmissão aparecerá aqui",
                stale: "dado de há pouco",
                unknown_count: "espectadores: sem dados",
                not_found: "Esta página não existe",
                not_found_hint: "O nome de um canal tem de 1 a 64 letras, números, pontos, hifens ou sublinhados.",
                home: "Ir para o início",
            },
        }
    }
}

/// What the pages say, apart from numbers.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is named after what it says")]
pub struct Words {
    pub tagline: &'static str,
    pub open_channel: &'static str,
    pub channel_name: &'static str,
    pub open: &'static str,
    pub player_of: &'static str,
    pub offline: &'static str,
    pub stale: &'static str,
    pub unknown_count: &'static str,
    pub not_found: &'static str,
    pub not_found_hint: &'static str,
    pub home: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_language_of_the_header_is_chosen() {
        for (header, locale) in [
            ("", Locale::Es),
            ("de", Locale::Es),
            ("en", Locale::En),
            ("EN-us,en;q=0.9", Locale::En),
            ("de, pt-BR;q=0.8, en;q=0.9", Locale::En),
            ("es-MX,es;q=0.9,en;q=0.8", Locale::Es),
            ("pt;q=0, en;q=0", Locale::Es),
            ("en;q=oops, pt", Locale::Pt),
            (";;;,,,q=", Locale::Es),
        ] {
            assert_eq!(Locale::from_accept_language(header), locale, "{header:?}");
        }
    }

    #[test]
    fn numbers_are_grouped_as_the_language_does() {
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
        assert_eq!(Locale::Es.viewers(None), "espectadores: sin datos");
    }
}
