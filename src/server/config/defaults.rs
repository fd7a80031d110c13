//! The defaults that depend on other settings; all others are in [`Flags`]. A setting that is given keeps its value.

use clap::{ArgMatches, parser::ValueSource};

use super::Flags;

/// How many connections an address may have open for each of its streams, if their limit is not set.
const CONNECTIONS_PER_STREAM: u32 = 5;

/// Sets the defaults that depend on other settings.
pub(super) fn follow(flags: &mut Flags, given: &ArgMatches) {
    if !is_given("hidden_timeout", given) {
        flags.hidden_timeout = flags.hidden_timeout.max(flags.timeout);
    }
    if !is_given("limit_connections_per_address", given) {
        let streams = flags.limit_streams_per_address;
        let least = streams.saturating_mul(CONNECTIONS_PER_STREAM);
        let connections = flags.limit_connections_per_address.max(least);
        flags.limit_connections_per_address = if streams == 0 { 0 } else { connections };
    }
}

/// Whether a setting has a value in the environment or by a flag.
pub(super) fn is_given(setting: &str, given: &ArgMatches) -> bool {
    !matches!(given.value_source(setting), None | Some(ValueSource::DefaultValue))
}

#[cfg(test)]
mod tests {
    use crate::server::config::{Config, draft, read};

    /// The configuration by these flags.
    fn config(flags: &[&str]) -> Config {
        read([&["aforo"][..], flags].concat()).unwrap()
    }

    #[test]
    fn the_lease_of_hidden_pages_follows_that_of_visible_ones() {
        for (flags, expected) in [
            (&[][..], 150),
            (&["--timeout=150"], 150),
            (&["--timeout=400"], 400),
            (&["--timeout=400", "--hidden-timeout=500"], 500),
            (&["--hidden-timeout=60"], 60),
        ] {
            assert_eq!(config(flags).policy.hidden_timeout.as_secs(), expected, "{flags:?}");
        }
        assert!(read(["aforo", "--timeout=400", "--hidden-timeout=399"]).is_err());
        // Also if settings are read one by one, because one of them is wrong.
        let found = draft(["aforo", "--timeout=400", "--limit-streams=x"], None).unwrap();
        assert_eq!((found.problems.len(), found.config.policy.hidden_timeout.as_secs()), (1, 400));
    }

    #[test]
    fn the_limit_of_connections_follows_that_of_streams() {
        for (flags, expected) in [
            (&[][..], 1_000),
            (&["--limit-streams-per-address=0"], 0),
            (&["--limit-streams-per-address=100"], 1_000),
            (&["--limit-streams-per-address=1000"], 5_000),
            (&["--limit-streams-per-address=4294967295"], u32::MAX),
            (&["--limit-streams-per-address=0", "--limit-connections-per-address=7"], 7),
            (&["--limit-streams-per-address=1000", "--limit-connections-per-address=1000"], 1_000),
        ] {
            assert_eq!(config(flags).limit_connections_per_address, expected, "{flags:?}");
        }
    }
}
