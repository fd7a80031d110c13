//! What the README promises in tables, held to the code.

use aforo::{
    api::{Code, Problem},
    server::config::Flags,
};
use clap::CommandFactory;

const README: &str = include_str!("../../README.md");

/// The rows of a table, by what is in their first cell.
fn row(first: &str) -> Option<Vec<String>> {
    let start = format!("| `{first}` |");
    let line = README.lines().find(|line| line.starts_with(&start))?;
    Some(line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
}

#[test]
fn every_setting_is_in_the_readme_with_its_default() {
    let command = Flags::command();
    let settings: Vec<_> = command.get_arguments().filter(|arg| arg.get_env().is_some()).collect();
    assert!(settings.len() >= 9);
    for setting in settings {
        let name = setting.get_env().unwrap().to_string_lossy();
        let row = row(&name).unwrap_or_else(|| panic!("{name} is not in the README's table"));
        let default = setting
            .get_default_values()
            .first()
            .map_or_else(String::new, |value| value.to_string_lossy().into_owned());
        assert_eq!(row[1].trim_matches('`'), default, "{name}");
    }
}

#[test]
fn every_error_code_is_in_the_readme_with_its_status() {
    for code in Code::ALL {
        let problem = serde_json::to_value(Problem::new(code)).unwrap();
        let name = problem["code"].as_str().unwrap();
        let row = row(name).unwrap_or_else(|| panic!("{name} is not in the README's table"));
        assert_eq!(row[1], problem["status"].to_string(), "{name}");
    }
}
