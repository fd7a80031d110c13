//! The report: a table for each scenario, the goals, and a line of JSON for each round.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
};

use serde_json::{Map, Value, json};

use crate::{
    Result,
    goals::{self, Bound},
    process::first_line,
    procfs,
    stats::Rounds,
};

/// The figures of one row in one round: column names with units, and values.
pub type Figures = Vec<(&'static str, f64)>;

/// Collects figures.
pub struct Report {
    tables: Vec<Table>,
    lines: Option<File>,
}

struct Table {
    scenario: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Figures>)>,
}

impl Report {
    /// An empty report. Lines of JSON are appended to the file `lines`, if any.
    pub fn new(lines: Option<&Path>) -> Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { tables: Vec::new(), lines: lines.map(open).transpose()? })
    }

    /// Describes the machine and the versions of the programs.
    pub fn place(&mut self, server: &Path) -> Result<String> {
        let commit = first_line("git", &["describe", "--always", "--dirty"]);
        let version = first_line(server, &["--version"]);
        let redis = first_line("redis-server", &["--version"]);
        let kernel = first_line("uname", &["-sr"]);
        let date = first_line("date", &["-u", "+%F %R UTC"]);
        let facts = [Some(procfs::machine()), kernel, version, commit, redis, date];
        let place = facts.map(|fact| fact.unwrap_or_else(|| "unknown".to_owned())).join("; ");
        self.line(&json!({ "place": place }))?;
        Ok(place)
    }

    /// Adds one round of a row.
    pub fn add(&mut self, scenario: &'static str, row: impl Into<String>, figures: Figures) -> Result<()> {
        let row = row.into();
        let numbers: Map<String, Value> =
            figures.iter().map(|(name, figure)| ((*name).to_owned(), json!(figure))).collect();
        self.line(&json!({ "scenario": scenario, "row": row, "figures": numbers }))?;
        let summary: Vec<_> =
            figures.iter().map(|(name, figure)| format!("{name} {}", number(*figure))).collect();
        eprintln!("  {row}: {}", summary.join(", "));

        let at = self.tables.iter().position(|table| table.scenario == scenario).unwrap_or_else(|| {
            self.tables.push(Table { scenario, columns: Vec::new(), rows: Vec::new() });
            self.tables.len() - 1
        });
        let table = &mut self.tables[at];
        for (name, _) in &figures {
            if !table.columns.contains(name) {
                table.columns.push(name);
            }
        }
        match table.rows.iter_mut().find(|(name, _)| *name == row) {
            Some((_, rounds)) => rounds.push(figures),
            None => table.rows.push((row, vec![figures])),
        }
        Ok(())
    }

    fn line(&mut self, line: &Value) -> Result<()> {
        if let Some(file) = &mut self.lines {
            writeln!(file, "{line}")?;
        }
        Ok(())
    }

    fn rounds(&self, scenario: &str, row: &str, column: &str) -> Option<Rounds> {
        let table = self.tables.iter().find(|table| table.scenario == scenario)?;
        let (_, rounds) = table.rows.iter().find(|(name, _)| name == row)?;
        Rounds::of(&column_of(rounds, column))
    }

    /// The tables as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let rounds = table.rows.iter().map(|(_, rounds)| rounds.len()).max().unwrap_or(0);
            let title = if rounds > 1 {
                format!(", {rounds} rounds: median ± half of their range")
            } else {
                String::new()
            };
            let _infallible = writeln!(text, "\n{}{title}", table.scenario);
            let mut cells =
                vec![[&[""], &table.columns[..]].concat().iter().map(ToString::to_string).collect()];
            for (name, rounds) in &table.rows {
                let mut row: Vec<String> = vec![name.clone()];
                row.extend(table.columns.iter().map(|column| cell(&column_of(rounds, column))));
                cells.push(row);
            }
            align(&mut text, &cells);
        }
        let goals: Vec<Vec<String>> = goals::GOALS
            .iter()
            .filter_map(|goal| {
                let figure = self.rounds(goal.scenario, goal.row, goal.column)?.median;
                let (bound, met) = match goal.bound {
                    Bound::AtMost(bound) => (format!("≤ {}", number(bound)), figure <= bound),
                    Bound::ShareOf(share, other) => {
                        let bound = share * self.rounds(goal.scenario, other, goal.column)?.median;
                        (format!("≥ {} ({share} of {other})", number(bound)), figure >= bound)
                    }
                    Bound::TimesOf(times, other) => {
                        let bound = times * self.rounds(goal.scenario, other, goal.column)?.median;
                        (format!("≤ {} ({times} times {other})", number(bound)), figure <= bound)
                    }
                };
                let verdict = if met { "met" } else { "MISSED" };
                let name = format!("{}: {}, {}", goal.scenario, goal.row, goal.column);
                Some(vec![name, number(figure), bound, verdict.to_owned()])
            })
            .collect();
        if !goals.is_empty() {
            text.push_str("\ngoals\n");
            align(&mut text, &goals);
        }
        text
    }
}

fn column_of(rounds: &[Figures], column: &str) -> Vec<f64> {
    rounds.iter().flatten().filter(|(name, _)| *name == column).map(|(_, figure)| *figure).collect()
}

fn cell(figures: &[f64]) -> String {
    match Rounds::of(figures) {
        None => "–".to_owned(),
        Some(rounds) if figures.len() == 1 => number(rounds.median),
        Some(rounds) => format!("{} ±{:.0}%", number(rounds.median), rounds.spread() * 50.0),
    }
}

/// Formats a number with three significant digits, and with all digits before the decimal point. Integers have no
/// decimals.
pub fn number(figure: f64) -> String {
    let size = figure.abs();
    let decimals = if size >= 100.0 || size.fract() == 0.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        3
    };
    let text = format!("{figure:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{rest}") }
}

fn align(text: &mut String, rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(width(column) - cell.chars().count());
            text.push_str(&if column == 0 { format!("  {cell}{pad}") } else { format!("  {pad}{cell}") });
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (figure, text) in [
            (0.0, "0"),
            (10.0, "10"),
            (0.0614, "0.061"),
            (2.345, "2.35"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-1_234.0, "-1,234"),
        ] {
            assert_eq!(number(figure), text);
        }
    }

    #[test]
    fn rounds_are_summarized_in_a_table_with_goals() {
        let mut report = Report::new(None).unwrap();
        let goal = goals::GOALS.iter().find(|goal| matches!(goal.bound, Bound::AtMost(_))).unwrap();
        for figure in [100.0, 120.0, 110.0] {
            report.add(goal.scenario, goal.row, vec![(goal.column, figure)]).unwrap();
        }
        let text = report.text();
        assert!(text.contains("110 ±9%"), "{text}");
        assert!(text.contains("MISSED") || text.contains("met"), "{text}");
        assert_eq!(report.rounds(goal.scenario, goal.row, "no such column"), None);
    }
}
