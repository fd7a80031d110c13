//! What the documents promise, held to the code: settings, error codes, links, commands and versions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use aforo::{
    api::{Code, Problem},
    server::config::Flags,
};
use clap::CommandFactory;

const README: &str = include_str!("../../README.md");
const README_ES: &str = include_str!("../../README.es.md");
const SETTINGS: &str = include_str!("../../docs/settings.md");
const SCALE: &str = include_str!("../../docs/scale.md");
const MIGRATING: &str = include_str!("../../docs/migrating.md");
const HTTP_API: &str = include_str!("../../docs/http-api.md");
const MAKEFILE: &str = include_str!("../../Makefile");
const WORKFLOW: &str = include_str!("../../.github/workflows/ci.yml");

/// The most words of the README.
const README_WORDS: usize = 1_000;

/// The cells of a table's row, by what is in the first one.
fn row(document: &str, first: &str) -> Option<Vec<String>> {
    let start = format!("| `{first}` |");
    let line = document.lines().find(|line| line.starts_with(&start))?;
    Some(line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
}

/// Every setting with its default; an empty one for those that have none.
fn settings() -> Vec<(String, String)> {
    let command = Flags::command();
    let settings = command.get_arguments().filter_map(|arg| {
        let name = arg.get_env()?.to_string_lossy().into_owned();
        let default = arg.get_default_values().first();
        Some((name, default.map_or_else(String::new, |value| value.to_string_lossy().into_owned())))
    });
    settings.collect()
}

#[test]
fn every_setting_is_explained_with_its_default() {
    let settings = settings();
    assert!(settings.len() >= 9);
    for (name, default) in settings {
        let row = row(SETTINGS, &name).unwrap_or_else(|| panic!("{name} is not in docs/settings.md"));
        assert_eq!(row[1].trim_matches('`'), default, "{name}");
    }
}

#[test]
fn no_setting_is_explained_that_does_not_exist() {
    let known: BTreeSet<_> = settings().into_iter().map(|(name, _)| name).collect();
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    for line in SETTINGS.lines().filter_map(|line| line.strip_prefix("| `")) {
        let name = line.split('`').next().unwrap();
        assert!(!is_name(name) || known.contains(name), "{name} is in docs/settings.md and is no setting");
    }
}

#[test]
fn every_limit_is_in_the_readme_with_its_default() {
    let limits: Vec<_> = settings().into_iter().filter(|(name, _)| name.starts_with("LIMIT_")).collect();
    assert!(limits.len() >= 9);
    for (name, default) in limits {
        for (file, text) in [("README.md", README), ("README.es.md", README_ES)] {
            let row = row(text, &name).unwrap_or_else(|| panic!("{name} is not in {file}"));
            assert_eq!(row[1].trim_matches('`'), default, "{name} in {file}");
        }
    }
}

#[test]
fn every_error_code_is_described_with_its_status() {
    for code in Code::ALL {
        let problem = serde_json::to_value(Problem::new(code)).unwrap();
        let (name, status) = (problem["code"].as_str().unwrap(), problem["status"].to_string());
        let described = row(HTTP_API, name).unwrap_or_else(|| panic!("{name} is not in docs/http-api.md"));
        assert_eq!(described[1], status, "{name}");
        for (file, text) in [("README.md", README), ("README.es.md", README_ES)] {
            let is_named = |line: &str| {
                let cells: Vec<_> = line.split('|').collect();
                cells.len() == 4 && cells[1].contains(&status) && cells[2].contains(&format!("`{name}`"))
            };
            assert!(text.lines().any(is_named), "{name} is not in the table of {file}");
        }
    }
}

#[test]
fn the_readme_is_short() {
    let words = README.split_whitespace().count();
    assert!(words <= README_WORDS, "{words} words");
}

#[test]
fn the_versions_of_redis_and_valkey_that_the_readme_names_are_tested() {
    let versions = |text: &str| -> BTreeSet<String> {
        let mut words =
            text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).filter(|w| !w.is_empty());
        let mut found = BTreeSet::new();
        while let Some(word) = words.next() {
            let server = word.to_ascii_lowercase();
            if server == "redis" || server == "valkey" {
                // In the workflow the word for it stands between.
                let next = words.clone().find(|word| *word != "version").unwrap_or_default();
                let version = next.trim_end_matches('.');
                if version.starts_with(|c: char| c.is_ascii_digit()) {
                    found.insert(format!("{server} {version}"));
                }
            }
        }
        found
    };
    let tested: String = WORKFLOW.lines().filter(|line| line.contains("server:")).collect();
    let tested = versions(&tested);
    assert!(tested.len() >= 3, "{tested:?}");
    for (file, text) in [("README.md", README), ("README.es.md", README_ES)] {
        let named: String =
            text.lines().filter(|line| !line.starts_with('|')).map(|line| format!("{line} ")).collect();
        assert_eq!(versions(&named), tested, "{file}");
    }
}

/// The documents: those at the root, those in `docs`, that of the faults and that of the npm package.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("tests/mutants/README.md"), PathBuf::from("client/README.md")];
    let mut folders = vec![(PathBuf::from("."), false), (PathBuf::from("docs"), true)];
    while let Some((folder, is_deep)) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && is_deep {
                folders.push((path, true));
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// A document's text without its blocks of code, and those blocks.
fn prose_and_code(text: &str) -> (String, String) {
    let (mut prose, mut code, mut is_code) = (String::new(), String::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else {
            let part = if is_code { &mut code } else { &mut prose };
            part.push_str(line);
            part.push('\n');
        }
    }
    (prose, code)
}

/// Where a text links to, within the repository: by Markdown, and by the images of HTML.
fn links(prose: &str) -> Vec<String> {
    let after = |start: &str, end: char| -> Vec<String> {
        prose.split(start).skip(1).filter_map(|rest| rest.split(end).next()).map(str::to_owned).collect()
    };
    let all = [after("](", ')'), after("src=\"", '"'), after("srcset=\"", '"')].concat();
    all.into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")).collect()
}

/// The anchors that GitHub gives a document's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let (prose, _) = prose_and_code(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut faults = Vec::new();
    let mut looked_at = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&prose_and_code(&text).0) {
            looked_at += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = document.parent().unwrap_or(Path::new("."));
            let target = if file.is_empty() { document.clone() } else { folder.join(file) };
            if !target.exists() {
                faults.push(format!("{}: there is no {link}", document.display()));
            } else if !anchor.is_empty() && !anchors(&fs::read_to_string(&target).unwrap()).contains(anchor) {
                faults.push(format!("{}: {link} has no such heading", document.display()));
            }
        }
    }
    assert!(looked_at > 50, "the search finds {looked_at} links");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The targets of `make` that a text names: at the start of a line of code, or of `code` in a sentence.
fn make_targets(text: &str) -> BTreeSet<String> {
    let (prose, code) = prose_and_code(text);
    let in_code = code.lines().filter_map(|line| line.trim_start().strip_prefix("make "));
    let in_prose = prose.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.strip_prefix("make "));
    let word = |rest: &str| {
        rest.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).next().unwrap_or_default().to_owned()
    };
    in_code.chain(in_prose).map(word).filter(|target| !target.is_empty()).collect()
}

#[test]
fn every_make_command_exists() {
    let exists = |target: &str| MAKEFILE.lines().any(|line| line.starts_with(&format!("{target}:")));
    let mut named = BTreeSet::new();
    for document in documents() {
        for target in make_targets(&fs::read_to_string(&document).unwrap()) {
            assert!(exists(&target), "{} names `make {target}`", document.display());
            named.insert(target);
        }
    }
    assert!(named.len() > 5, "the search finds {named:?}");
}

/// What a document shows as printed by `make capacity`: its arguments, and the text up to the end marker.
fn capacities(document: &str) -> Vec<(&str, &str)> {
    let blocks = document.split("<!-- make capacity ").skip(1);
    blocks
        .map(|block| {
            let (args, rest) = block.split_once(" -->\n").unwrap();
            let (shown, _) = rest.split_once("<!-- end -->").unwrap();
            (args, shown.trim())
        })
        .collect()
}

#[test]
fn the_tables_of_scale_are_what_make_capacity_prints() {
    let shown = capacities(SCALE);
    for viewers in ["100000", "1000000", "10000000", "100000000"] {
        let name = format!("VIEWERS={viewers}");
        let is_shown = shown.iter().any(|(args, _)| args.split(' ').any(|arg| arg == name));
        assert!(is_shown, "docs/scale.md has no table for {name}");
    }
    for (args, shown) in shown {
        let output = Command::new("node").arg("scripts/capacity.mjs").args(args.split(' ')).output().unwrap();
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            shown,
            printed.trim(),
            "{args}: run `node scripts/capacity.mjs --write docs/scale.md` and review the page"
        );
    }
}

#[test]
fn the_measured_costs_of_the_capacity_model_are_not_repeated() {
    let script = fs::read_to_string("scripts/capacity.mjs").unwrap();
    assert_eq!(script.matches("export const COSTS = {").count(), 1);
    let prose: String = {
        let mut rest = SCALE;
        let mut prose = String::new();
        while let Some((before, block)) = rest.split_once("<!-- make capacity ") {
            prose.push_str(before);
            rest = block.split_once("<!-- end -->").map_or("", |(_, after)| after);
        }
        prose + rest
    };
    assert!(!prose.contains("µs"), "docs/scale.md states a cost outside of the calculated tables");
}

/// A file in a diff: the lines before and after of each hunk, with the number of the first line.
#[derive(Debug, Default)]
struct Changed {
    is_deleted: bool,
    hunks: Vec<Hunk>,
}

#[derive(Debug, Default)]
struct Hunk {
    before: Vec<String>,
    after: Vec<String>,
    /// The numbers of the first lines and of lines, before and after, as the hunk's header says.
    claimed: [[usize; 2]; 2],
}

/// The files of a document's diffs that `git diff` has written, by their paths.
fn changed_files(document: &str) -> BTreeMap<String, Changed> {
    let mut files = BTreeMap::<String, Changed>::new();
    let mut path = String::new();
    let blocks = document.split("```diff\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    for line in blocks.filter(|block| block.starts_with("diff --git ")).flat_map(str::lines) {
        if let Some(paths) = line.strip_prefix("diff --git a/") {
            path = paths.split(" b/").next().unwrap().to_owned();
            assert!(files.insert(path.clone(), Changed::default()).is_none(), "{path} is there twice");
            continue;
        }
        let file = files.get_mut(&path).unwrap();
        if line.starts_with("deleted file") {
            file.is_deleted = true;
        } else if let Some(header) = line.strip_prefix("@@ ") {
            let span = |text: &str| -> [usize; 2] {
                let (start, length) = text[1..].split_once(',').unwrap_or((&text[1..], "1"));
                [start, length].map(|number| number.parse().unwrap())
            };
            let mut words = header.split(' ');
            let claimed = [span(words.next().unwrap()), span(words.next().unwrap())];
            file.hunks.push(Hunk { claimed, ..Hunk::default() });
        } else if let Some(hunk) = file.hunks.last_mut() {
            let (sign, text) = line.split_at_checked(1).unwrap_or((" ", ""));
            assert!(matches!(sign, " " | "+" | "-"), "{path}: {line}");
            if sign != "+" {
                hunk.before.push(text.to_owned());
            }
            if sign != "-" {
                hunk.after.push(text.to_owned());
            }
        }
    }
    files
}

/// The modules that a text imports by a path relative to its folder, as paths from the root of the app.
fn relative_imports(file: &str, text: &str) -> Vec<PathBuf> {
    let quoted = text.lines().filter_map(|line| line.strip_prefix("import ")?.split('"').nth(1));
    let module = |from: &str| {
        let mut path = Path::new(file).parent().unwrap().to_owned();
        for part in from.split('/') {
            match part {
                "." => {}
                ".." => assert!(path.pop(), "{file}: {from}"),
                _ => path.push(part),
            }
        }
        path
    };
    quoted.filter(|from| from.starts_with('.')).map(module).collect()
}

#[test]
fn the_migration_of_a_next_app_ends_with_the_example() {
    let example = Path::new("examples/next-app");
    let files = changed_files(MIGRATING);
    let mut deleted = BTreeSet::new();
    for (path, Changed { is_deleted, hunks }) in &files {
        assert!(!hunks.is_empty(), "{path}");
        for Hunk { before, after, claimed } in hunks {
            assert_eq!([before.len(), after.len()], claimed.map(|[_, length]| length), "{path}");
        }
        if *is_deleted {
            assert!(!example.join(path).exists(), "{path} is deleted, and in the example");
            assert!(hunks.iter().all(|hunk| hunk.after.is_empty()), "{path}");
            deleted.insert(Path::new(path).with_extension(""));
            continue;
        }
        let text = fs::read_to_string(example.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let lines: Vec<_> = text.lines().collect();
        for Hunk { after, claimed: [_, [start, length]], .. } in hunks {
            let shown = lines.get(start - 1..start - 1 + length).unwrap_or_default();
            assert_eq!(after, shown, "{path} of the example is not what docs/migrating.md says");
        }
    }
    // The old hooks and routes are what goes, and nothing in the example needs them.
    for gone in ["hooks/useViewerCount", "hooks/useViewerTracker", "app/api/viewer/join/route"] {
        assert!(deleted.contains(Path::new(gone)), "{gone} in {deleted:?}");
    }
    let before: String = files["components/viewers.tsx"].hunks[0].before.join("\n");
    let old = relative_imports("components/viewers.tsx", &before);
    assert!(old.len() == 2 && old.iter().all(|module| deleted.contains(module)), "{old:?}");
    // The same component with another import, and no other line changed.
    let read = |path: &str| fs::read_to_string(example.join(path)).unwrap();
    let rest_of = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("import ")).map(str::to_owned).collect()
    };
    let unchanged = read("components/unchanged-viewers.tsx");
    assert_eq!(rest_of(&unchanged), rest_of(&before));
    let imports: Vec<_> = unchanged.lines().filter(|line| line.starts_with("import ")).collect();
    assert!(imports.len() == 1 && MIGRATING.contains(&format!("```tsx\n{}\n```", imports[0])), "{imports:?}");
    // The page around it is the old one, which the diff shows in parts.
    let page = rest_of(&read("app/unchanged/[channel]/page.tsx")).join("\n");
    for hunk in &files["app/watch/[channel]/page.tsx"].hunks {
        let part = rest_of(&hunk.before.join("\n")).join("\n");
        assert!(page.contains(&part), "{page}");
    }
    // Every page and component of the example that uses the package is in the diff. The others are for tests.
    let mut looked_at = 0;
    for folder in ["app/watch/[channel]", "components"] {
        for entry in fs::read_dir(example.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(example).unwrap().to_str().unwrap();
            looked_at += 1;
            assert!(relative_imports(name, &text).iter().all(|module| !deleted.contains(module)), "{name}");
            let is_shown = !["components/parts.tsx", "components/unchanged-viewers.tsx"].contains(&name);
            let is_needed = text.contains("from \"aforo") && is_shown;
            assert!(!is_needed || files.contains_key(name), "{name} is not in docs/migrating.md");
        }
    }
    assert_eq!(looked_at, 4);
}

#[test]
fn the_searches_would_find_a_fault() {
    let text =
        "# A *b* c\n[x](docs/y.md#z) `make one`\n```sh\nmake two # [no](link)\n```\n<img src=\"p.png\" />\n";
    assert_eq!(links(&prose_and_code(text).0), ["docs/y.md#z", "p.png"]);
    assert_eq!(anchors(text), BTreeSet::from(["a-b-c".to_owned()]));
    assert_eq!(make_targets(text), BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    let files = changed_files(
        "```diff\n-a\n```\n```diff\ndiff --git a/x/y.ts b/x/y.ts\n--- a/x/y.ts\n@@ -2,2 +2 @@ z\n-a\n b\n```\n",
    );
    let hunk = &files["x/y.ts"].hunks[0];
    assert_eq!(
        (files.len(), &hunk.before[..], &hunk.after[..]),
        (1, &["a".to_owned(), "b".to_owned()][..], &["b".to_owned()][..])
    );
    assert_eq!(hunk.claimed, [[2, 2], [2, 1]]);
    assert_eq!(relative_imports("x/y.ts", "import a from \"../b/c\";\nimport \"d\";"), [Path::new("b/c")]);
    let page = "a\n<!-- make capacity A=1 B=2 -->\n\n| b |\n\n<!-- end -->\nc\n";
    assert_eq!(capacities(page), [("A=1 B=2", "| b |")]);
}
