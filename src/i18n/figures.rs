//! How figures, lengths of time and dates are written. The pages' script writes them in the same way
//! (`client/src/rules/figures.ts`); the cases in `tests/sequences/figures.json` keep both equal.

use super::Locale;

/// A space that does not break.
const SPACE: char = '\u{a0}';

impl Locale {
    /// A number with grouped thousands, however large.
    #[must_use]
    pub fn large(self, number: u64) -> String {
        u32::try_from(number).map_or_else(|_| self.group(&number.to_string()), |number| self.number(number))
    }

    /// A mean: with one decimal below 100, else without.
    #[must_use]
    pub fn mean(self, mean: f64) -> String {
        let tenths = (mean.max(0.0) * 10.0).round();
        if tenths >= 1_000.0 || tenths % 10.0 == 0.0 {
            return self.large(whole(mean.round()));
        }
        let tenths = whole(tenths);
        format!("{}{}{}", tenths / 10, self.decimal_separator(), tenths % 10)
    }

    /// A share of a whole, rounded down, so that only all of it is 100 %. Above 99 % it has one decimal.
    #[must_use]
    pub fn percent(self, share: f64) -> String {
        let tenths = whole((share.clamp(0.0, 1.0) * 1_000.0).floor());
        let number = match tenths {
            0..10 if share > 0.0 => "<1".to_owned(),
            991..1_000 => format!("99{}{}", self.decimal_separator(), tenths - 990),
            _ => (tenths / 10).to_string(),
        };
        match self {
            Self::Es => format!("{number}{SPACE}%"),
            Self::En | Self::Pt => format!("{number}%"),
        }
    }

    /// A length of time: "45 s", "12 min", "3 h 20 min", from 100 hours on in whole hours. The units are the same in
    /// every language.
    #[must_use]
    pub fn length(self, seconds: f64) -> String {
        let seconds = whole(seconds.max(0.0));
        let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
        match (hours, minutes) {
            (0, 0) => format!("{seconds}{SPACE}s"),
            (0, _) => format!("{minutes}{SPACE}min"),
            (1..100, 1..) => format!("{hours}{SPACE}h {minutes}{SPACE}min"),
            _ => format!("{}{SPACE}h", self.large(hours)),
        }
    }

    /// A date with a short month. The year is written if it is given.
    #[must_use]
    pub fn date(self, year: Option<i16>, month: u8, day: u8) -> String {
        let name = self.months().split(' ').nth(usize::from(month.saturating_sub(1))).unwrap_or_default();
        let date = match self {
            Self::En => format!("{name}{SPACE}{day}"),
            Self::Es | Self::Pt => format!("{day}{SPACE}{name}"),
        };
        match (self, year) {
            (_, None) => date,
            (Self::En, Some(year)) => format!("{date}, {year}"),
            (Self::Es | Self::Pt, Some(year)) => format!("{date}{SPACE}{year}"),
        }
    }

    /// The short names of the months, separated by spaces.
    #[must_use]
    pub const fn months(self) -> &'static str {
        match self {
            Self::Es => "ene feb mar abr may jun jul ago sept oct nov dic",
            Self::En => "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
            Self::Pt => "jan fev mar abr mai jun jul ago set out nov dez",
        }
    }

    /// The short name of a day of the week, 0 for Monday.
    #[must_use]
    pub fn weekday(self, weekday: u8) -> &'static str {
        let names = match self {
            Self::Es => ["lun", "mar", "mié", "jue", "vie", "sáb", "dom"],
            Self::En => ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
            Self::Pt => ["seg", "ter", "qua", "qui", "sex", "sáb", "dom"],
        };
        names[usize::from(weekday % 7)]
    }

    const fn decimal_separator(self) -> char {
        match self {
            Self::En => '.',
            Self::Es | Self::Pt => ',',
        }
    }
}

/// The whole number in a float that is not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
const fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// A case: how a figure is written in each language.
    #[derive(Deserialize)]
    struct Case {
        kind: String,
        value: f64,
        es: String,
        en: String,
        pt: String,
    }

    #[test]
    fn figures_are_written_as_the_script_writes_them() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/sequences/figures.json")).unwrap();
        assert!(cases.len() > 30);
        for Case { kind, value, es, en, pt } in cases {
            for (locale, expected) in [(Locale::Es, es), (Locale::En, en), (Locale::Pt, pt)] {
                let written = match kind.as_str() {
                    "number" => locale.large(whole(value)),
                    "mean" => locale.mean(value),
                    "percent" => locale.percent(value),
                    "length" => locale.length(value),
                    other => panic!("{other}"),
                };
                assert_eq!(written, expected, "{kind} {value} in {locale:?}");
            }
        }
    }

    #[test]
    fn dates_have_the_order_of_the_language() {
        assert_eq!(Locale::Es.date(None, 9, 3), "3\u{a0}sept");
        assert_eq!(Locale::En.date(Some(2025), 12, 31), "Dec\u{a0}31, 2025");
        assert_eq!(Locale::Pt.date(Some(2025), 2, 1), "1\u{a0}fev\u{a0}2025");
        assert_eq!(Locale::Es.weekday(6), "dom");
        assert_eq!(Locale::ALL.map(|locale| locale.months().split(' ').count()), [12; 3]);
    }
}
