//! Reads the settings, and tells all that is wrong with them at once: whoever sets up a server learns it in one go.

use std::{error::Error, ffi::OsString};

use clap::{
    Arg, ArgMatches, Command, CommandFactory, FromArgMatches, Parser,
    builder::{OsStringValueParser, Resettable},
    error::ErrorKind,
    parser::ValueSource,
};

use super::{
    config::{Config, InvalidConfig},
    listen::Tls,
    store,
};

/// Why there are no settings to start with.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// What was asked for is help or the version, or the flags are not ours. It knows how to end the program.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// Values that can't be used, or not together.
    #[error(transparent)]
    Faults(#[from] InvalidConfig),
}

/// The settings in the environment and in `args`, of which the first is the program.
///
/// # Errors
/// All faults at once.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Config, Refusal> {
    let args: Vec<OsString> = args.into_iter().collect();
    let (config, mut faults) = match Config::try_parse_from(&args) {
        Ok(config) => (config, Faults::default()),
        Err(error) => one_by_one(&args, error)?,
    };
    let [policy, tls] = [config.policy().err(), config.tls().err()];
    for sentence in [policy, tls].into_iter().flatten().flat_map(|InvalidConfig(sentences)| sentences) {
        faults.add_if_of_good_values(sentence);
    }
    for fault in store::open::faults(&config) {
        faults.add_if_of_good_values(fault.to_string());
    }
    if let Ok(Some((certificate, key))) = config.tls()
        && let Err(error) = Tls::load(certificate, key)
    {
        faults.add_if_of_good_values(format!("TLS_CERT, TLS_KEY: {error}"));
    }
    if faults.sentences.is_empty() { Ok(config) } else { Err(InvalidConfig(faults.sentences).into()) }
}

/// What is wrong so far.
#[derive(Default)]
struct Faults {
    /// The settings whose own values are no good.
    settings: Vec<String>,
    sentences: Vec<String>,
}

impl Faults {
    /// Adds what is wrong with several settings together, unless it comes of a value that was not understood.
    fn add_if_of_good_values(&mut self, sentence: String) {
        if !self.settings.iter().any(|setting| sentence.contains(setting)) {
            self.sentences.push(sentence);
        }
    }
}

/// Tries every setting alone, where clap would stop at the first that is wrong. The settings that are left, with defaults
/// for the others.
fn one_by_one(args: &[OsString], error: clap::Error) -> Result<(Config, Faults), clap::Error> {
    // With every value taken as it is, only flags can be wrong.
    let any_value = Config::command().mut_args(|arg| arg.value_parser(OsStringValueParser::new()));
    let given = match any_value.try_get_matches_from(args) {
        Ok(given) => given,
        Err(other) => return Err(if other.kind() == error.kind() { error } else { other }),
    };
    let mut faults = Faults::default();
    let mut good = vec![OsString::from("aforo")];
    for arg in Config::command().get_arguments() {
        let values = values(arg, &given);
        let wrong: Vec<_> = values.iter().filter_map(|value| fault(arg, value, &given)).collect();
        if wrong.is_empty() {
            if !values.is_empty() {
                good.push(flag(arg, &values.join(&OsString::from(","))));
            }
        } else {
            faults.settings.push(name(arg));
            faults.sentences.extend(wrong);
        }
    }
    let without_environment = Config::command().mut_args(|arg| arg.env(Resettable::Reset));
    let config = Config::from_arg_matches(&without_environment.try_get_matches_from(good)?)?;
    Ok((config, faults))
}

/// What a setting was given, in pieces if it is a list. Empty if nothing was.
fn values(arg: &Arg, given: &ArgMatches) -> Vec<OsString> {
    match given.value_source(arg.get_id().as_str()) {
        None | Some(ValueSource::DefaultValue) => Vec::new(),
        Some(_) => {
            let values = given.get_raw(arg.get_id().as_str()).into_iter().flatten();
            values.map(ToOwned::to_owned).collect()
        }
    }
}

/// What is wrong with one value, as a sentence that names the setting and says what is expected.
fn fault(arg: &Arg, value: &OsString, given: &ArgMatches) -> Option<String> {
    let alone = Command::new("aforo").arg(arg.clone().env(Resettable::Reset));
    let error = alone.try_get_matches_from(["aforo".into(), flag(arg, value)]).err()?;
    let expected = match (error.kind(), error.source()) {
        (ErrorKind::InvalidUtf8, _) => "not text in UTF-8".to_owned(),
        (_, Some(reason)) => reason.to_string(),
        (_, None) => {
            let known: Vec<_> =
                arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
            format!("not one of {}", known.join(", "))
        }
    };
    let by = match given.value_source(arg.get_id().as_str()) {
        Some(ValueSource::CommandLine) => format!(" (--{})", arg.get_long().unwrap_or_default()),
        _ => String::new(),
    };
    let shown = if arg.is_hide_env_values_set() { String::new() } else { format!(" is {value:?},") };
    Some(format!("{}{by}{shown} {expected}", name(arg)))
}

fn name(arg: &Arg) -> String {
    arg.get_env().unwrap_or_default().to_string_lossy().into_owned()
}

fn flag(arg: &Arg, value: &OsString) -> OsString {
    let mut flag = OsString::from(format!("--{}=", arg.get_long().unwrap_or_default()));
    flag.push(value);
    flag
}
