//! Environment variables and levels whose names are nearly right. Without a warning, they would have no effect, and nobody
//! would know.

use strsim::osa_distance;

/// The levels of the log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Names of settings below these lengths may differ in case only, or in one letter, since many other names are near; longer ones
/// in two.
const LENGTHS: (usize, usize) = (6, 12);

/// A warning for each variable in `names` that is no setting, but nearly one of `settings`. The values are not known here.
pub(super) fn variables(names: impl IntoIterator<Item = String>, settings: &[String]) -> Vec<String> {
    let mut names: Vec<_> = names.into_iter().filter(|name| !settings.contains(name)).collect();
    names.sort_unstable();
    let warn = |name: String| {
        let upper = name.to_ascii_uppercase();
        let is_near = |setting: &&String| {
            let most = usize::from(setting.len() >= LENGTHS.0) + usize::from(setting.len() >= LENGTHS.1);
            osa_distance(&upper, setting) <= most
        };
        let setting = settings.iter().find(is_near)?;
        Some(format!("{name} is not a setting and has no effect; did you mean {setting}?"))
    };
    names.into_iter().filter_map(warn).collect()
}

/// A warning if a filter of the log has a word that is nearly a level: it would be the name of a module.
pub(super) fn levels(filter: &str) -> Option<String> {
    let mut words =
        filter.split(',').map(|directive| directive.rsplit('=').next().unwrap_or(directive).trim());
    let near = |word: &str| {
        let lower = word.to_ascii_lowercase();
        let is_near =
            |level: &&str| osa_distance(&lower, level) == 1 || (&*lower, *level) == ("warning", "warn");
        LEVELS.into_iter().find(is_near).map(|level| (word.to_owned(), level))
    };
    let (word, level) = words.find_map(near)?;
    Some(format!("RUST_LOG has {word}, which is not a level; did you mean {level}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_nearly_settings_are_reported() {
        let settings = ["API_TOKEN", "LIVE", "REDIS_URL", "UPSTASH_REDIS_REST_URL"].map(str::to_owned);
        let told = |name: &str| variables([name.to_owned()], &settings);
        for (name, setting) in [
            ("REDIS_URI", "REDIS_URL"),
            ("REDIS_ULR", "REDIS_URL"),
            ("redis_url", "REDIS_URL"),
            ("UPSTASH_REDIS_RST_URLS", "UPSTASH_REDIS_REST_URL"),
        ] {
            let expected = format!("{name} is not a setting and has no effect; did you mean {setting}?");
            assert_eq!(told(name), [expected]);
        }
        for name in ["REDIS_URL", "PATH", "REDIS_PORT", "REDIS_HOST", "APP_TOKENS", "LIVES", "LINE", "LANG"] {
            assert_eq!(told(name), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn words_that_are_nearly_levels_are_reported() {
        for (filter, word, level) in [
            ("inof", "inof", "info"),
            ("aforo=debg", "debg", "debug"),
            ("aforo=debug, Warning", "Warning", "warn"),
        ] {
            let expected = format!("RUST_LOG has {word}, which is not a level; did you mean {level}?");
            assert_eq!(levels(filter), Some(expected));
        }
        for filter in ["info", "aforo=debug,warn", "INFO", "aforo", "hyper=trace,off", "aforo::server=2", ""]
        {
            assert_eq!(levels(filter), None, "{filter}");
        }
    }
}
