//! The architecture rules: modules import only what this table allows, without cycles, and feature gates are in two
//! files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{ItemUse, UseTree, visit::Visit};

/// Which modules of this crate each module may name. The most specific row applies. A module may always name itself and
/// its children. Every permission must be used, so a row lists the actual dependencies.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("browser", &["domain"]),
    ("i18n", &[]),
    ("platform", &[]),
    // The bodies of server functions name the services.
    ("api", &["domain", "server::presence", "server::follows", "server::caller"]),
    ("hooks", &["browser", "domain", "platform"]),
    ("components", &["hooks", "domain", "i18n"]),
    ("islands", &["browser::tab_sync", "components", "hooks", "domain", "i18n", "platform"]),
    // The statistics page shows what is kept in the terms of its arithmetic.
    ("pages", &["islands", "components", "api", "domain", "i18n", "server::history"]),
    ("app", &["pages"]),
    ("server::access", &["domain", "server::tickets"]),
    ("server::backoff", &[]),
    ("server::clock", &["domain"]),
    ("server::metrics", &[]),
    ("server::shutdown", &[]),
    ("server::site", &[]),
    ("server::spans", &[]),
    ("server::store_error", &[]),
    ("server::supervisor", &["server::metrics"]),
    ("server::limits", &["domain"]),
    ("server::tickets", &["domain"]),
    ("server::listen", &["server::limits"]),
    ("server::redis", &["domain", "server::backoff", "server::store_error", "server::supervisor"]),
    (
        "server::config",
        &[
            "domain",
            "server::access",
            "server::limits",
            "server::listen::Tls",
            "server::redis",
            "server::site",
            "server::tickets",
            "server::webhooks::settings",
        ],
    ),
    ("server::traces", &["server::spans"]),
    ("server::telemetry", &["server::config", "server::spans", "server::traces"]),
    (
        "server::store",
        &[
            "domain",
            "server::clock",
            "server::config",
            "server::metrics",
            "server::redis",
            "server::store_error",
        ],
    ),
    ("server::follows", &["domain", "server::store_error"]),
    ("server::signals", &["domain", "server::metrics", "server::store_error"]),
    (
        "server::database",
        &[
            "domain",
            "server::config",
            "server::follows",
            "server::history",
            "server::metrics",
            "server::signals",
            "server::store_error",
        ],
    ),
    (
        "server::recording",
        &[
            "domain",
            "server::clock",
            "server::database",
            "server::fanout",
            "server::history",
            "server::limits",
            "server::metrics",
            "server::presence",
            "server::signals",
            "server::store",
            "server::store_error",
        ],
    ),
    ("server::anomalies", &["domain", "server::clock", "server::metrics", "server::presence"]),
    ("server::webhooks::settings", &[]),
    (
        "server::webhooks",
        &[
            "domain",
            "server::clock",
            "server::database",
            "server::history",
            "server::metrics",
            "server::recording",
            "server::store_error",
            "server::supervisor",
        ],
    ),
    ("server::fanout", &["domain"]),
    ("server::history", &["domain"]),
    (
        "server::presence",
        &[
            "domain",
            "server::backoff",
            "server::store",
            "server::fanout",
            "server::clock",
            "server::signals",
            "server::spans",
        ],
    ),
    (
        "server::http",
        &[
            "api",
            "app",
            "domain",
            "i18n",
            "server::access",
            "server::anomalies",
            "server::caller",
            "server::config",
            "server::database",
            "server::fanout",
            "server::follows",
            "server::history",
            "server::limits",
            "server::listen",
            "server::metrics",
            "server::presence",
            "server::recording",
            "server::shutdown",
            "server::signals",
            "server::site",
            "server::spans",
            "server::store_error",
            "server::tickets",
        ],
    ),
    (
        "server::caller",
        &[
            "domain",
            "server::history",
            "server::limits",
            "server::metrics",
            "server::presence",
            "server::recording",
            "server::store_error",
            "server::tickets",
        ],
    ),
    ("server::health", &["server::config"]),
    ("server::top", &["api", "domain", "i18n", "server::config", "server::health"]),
    (
        "server::check",
        &[
            "domain",
            "server::clock",
            "server::config",
            "server::database",
            "server::listen",
            "server::redis",
            "server::site",
            "server::store",
        ],
    ),
    ("server::boot", &["server"]),
    ("server", &[]),
    ("main", &[]),
    ("lib", &[]),
];

/// Crates that only some modules may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("gloo_timers", &["platform::browser"]),
    ("web_sys", &["platform::browser"]),
    ("wasm_bindgen", &["platform::browser", "lib"]),
    ("send_wrapper", &["platform::browser"]),
    (
        "leptos",
        &["app", "pages", "islands", "components", "hooks", "api", "platform::server", "server::http", "lib"],
    ),
    ("leptos_axum", &["pages::request", "server::http"]),
    ("axum", &["pages::request", "server"]),
    ("tokio", &["server"]),
    ("clap", &["server::config"]),
    ("strsim", &["server::config"]),
    ("redis", &["server::redis", "server::store", "server::config"]),
    ("sqlx", &["server::database", "server::config"]),
    ("jiff", &["server::history", "server::http::signals"]),
    ("rustix", &["server::database"]),
    ("tower_http", &["server::http", "server::site"]),
    ("opentelemetry", &["server::spans", "server::traces"]),
    ("opentelemetry_sdk", &["server::spans", "server::traces"]),
    ("opentelemetry_otlp", &["server::traces"]),
    ("ratatui", &["server::top"]),
    ("siphasher", &["server::history", "server::store"]),
    ("standardwebhooks", &["server::webhooks"]),
    ("jsonwebtoken", &["server::access", "server::tickets"]),
    ("ring", &["server::access", "server::http", "server::listen", "server::tickets", "server::webhooks"]),
];

/// Modules that may not name a crate although their parent may.
const NOT_IN: &[(&str, &[&str])] = &[
    (
        "axum",
        &[
            "server::anomalies",
            "server::caller",
            "server::store",
            "server::fanout",
            "server::follows",
            "server::history",
            "server::presence",
            "server::recording",
            "server::signals",
            "server::database",
            "server::access",
            "server::clock",
            "server::redis",
            "server::tickets",
            "server::webhooks",
        ],
    ),
    (
        "tokio",
        &[
            "server::history",
            "server::anomalies::crowd",
            "server::anomalies::verdict",
            "server::anomalies::watch",
            "server::webhooks::settings",
        ],
    ),
];

/// The maximum number of feature gates.
const GATE_BUDGET: usize = 10;

/// A source file with its module path and all paths that it names.
struct Source {
    path: PathBuf,
    module: String,
    text: String,
    names: Vec<String>,
}

#[test]
fn imports_flow_one_way() {
    let mut violations = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources() {
        let (row, allowed) = most_specific(MAY_NAME, &source.module)
            .unwrap_or_else(|| panic!("{} has no row in MAY_NAME", source.path.display()));
        for name in source.names.iter().filter_map(|name| name.strip_prefix("crate::")) {
            if is_within(name, top_of(&source.module)) {
                continue;
            }
            match allowed.iter().find(|module| is_within(name, module)) {
                Some(module) => {
                    used.insert((row, *module));
                }
                None => violations.push(format!("{}: {row} must not name {name}", source.path.display())),
            }
        }
        for name in &source.names {
            let krate = name.split("::").next().unwrap_or_default();
            let only_in = ONLY_IN.iter().find(|(only, _)| *only == krate).map(|(_, modules)| *modules);
            let not_in =
                NOT_IN.iter().find(|(not, _)| *not == krate).map_or(&[][..], |(_, modules)| *modules);
            let is_in = |modules: &[&str]| modules.iter().any(|module| is_within(&source.module, module));
            if only_in.is_some_and(|modules| !is_in(modules)) || is_in(not_in) {
                violations.push(format!("{}: must not name the crate {krate}", source.path.display()));
            }
        }
    }
    let rows = MAY_NAME.iter().flat_map(|(row, allowed)| allowed.iter().map(|module| (*row, *module)));
    let unused = rows.filter(|permission| !used.contains(permission));
    violations.extend(unused.map(|(row, module)| format!("MAY_NAME: {row} may name {module} but does not")));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn there_are_no_dependency_cycles() {
    let mut edges = BTreeMap::<&str, BTreeSet<&str>>::new();
    for source in sources() {
        let row = most_specific(MAY_NAME, &source.module).unwrap().0;
        let others = source.names.iter().filter_map(|name| name.strip_prefix("crate::"));
        let rows = others.filter_map(|name| most_specific(MAY_NAME, name)).map(|(row, _)| row);
        edges.entry(row).or_default().extend(rows.filter(|other| *other != row));
    }
    let cycles: Vec<_> = edges.keys().filter_map(|row| cycle(row, &edges)).collect();
    assert!(cycles.is_empty(), "cycles:\n{}", cycles.join("\n"));
    let cyclic = BTreeMap::from([("a", BTreeSet::from(["b"])), ("b", BTreeSet::from(["a"]))]);
    assert_eq!(cycle("a", &cyclic).as_deref(), Some("a → b → a"));
}

/// A path from a module back to itself.
fn cycle(start: &str, edges: &BTreeMap<&str, BTreeSet<&str>>) -> Option<String> {
    let mut paths = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop() {
        for next in edges.get(path.last()?).into_iter().flatten() {
            if *next == start {
                return Some([&path[..], &[start]].concat().join(" → "));
            }
            if seen.insert(*next) {
                paths.push([&path[..], &[*next]].concat());
            }
        }
    }
    None
}

#[test]
fn feature_gates_are_few_and_in_two_files() {
    let mut gates = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            if line.contains("cfg") && line.contains("feature") {
                gates.push((source.module.clone(), format!("{}:{}", source.path.display(), number + 1)));
            }
        }
    }
    let strays: Vec<_> = gates.iter().filter(|(module, _)| module != "lib" && module != "platform").collect();
    assert!(strays.is_empty(), "feature gates belong in lib.rs and platform/mod.rs: {strays:?}");
    assert!(
        gates.len() <= GATE_BUDGET,
        "{} gates, at most {GATE_BUDGET} are allowed: {gates:?}",
        gates.len()
    );
    assert!(!gates.is_empty(), "the search finds at least one gate");
}

#[test]
fn both_platform_implementations_have_the_same_public_names() {
    let public = |file: &str| {
        let text = fs::read_to_string(Path::new("src/platform").join(file)).unwrap();
        let mut names: Vec<_> = syn::parse_file(&text)
            .unwrap()
            .items
            .into_iter()
            .filter_map(|item| match item {
                syn::Item::Fn(item) if matches!(item.vis, syn::Visibility::Public(_)) => {
                    Some(item.sig.ident.to_string())
                }
                syn::Item::Struct(item) if matches!(item.vis, syn::Visibility::Public(_)) => {
                    Some(item.ident.to_string())
                }
                _ => None,
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(public("browser.rs"), public("server.rs"));
}

#[test]
fn imports_are_resolved_to_full_paths() {
    let names = names_in("domain", "use crate::server::{boot, store::Store}; fn f() { super::api::join(); }");
    assert_eq!(names, ["crate::server::boot", "crate::server::store::Store", "crate::api::join"]);
    assert!(most_specific(MAY_NAME, "server::store::memory").unwrap().1.contains(&"server::clock"));
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    files.into_iter().filter(|path| !path.ends_with("tests.rs")).map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let module = path.with_extension("").strip_prefix("src").unwrap().to_string_lossy().replace('/', "::");
    let module = module.strip_suffix("::mod").unwrap_or(&module).to_owned();
    let names = names_in(&module, &text);
    Source { path, module, text, names }
}

/// All paths that a file names, in `use` and elsewhere. Paths of this crate start at the crate root.
fn names_in(module: &str, text: &str) -> Vec<String> {
    struct Names<'a>(&'a str, Vec<String>);

    impl Names<'_> {
        fn add(&mut self, segments: &[String]) {
            let up = segments.iter().take_while(|segment| *segment == "super").count();
            let mut path = segments.join("::");
            if up > 0 {
                let parents: Vec<_> = self.0.split("::").collect();
                // `super` in a file is the parent module of the file.
                let kept = parents.len().saturating_sub(up);
                path = [&["crate"], &parents[..kept]].concat().join("::");
                for segment in &segments[up..] {
                    path = format!("{path}::{segment}");
                }
            }
            self.1.push(path);
        }

        fn tree(&mut self, tree: &UseTree, before: &[String]) {
            let with = |name: String| [before, &[name]].concat();
            match tree {
                UseTree::Path(path) => self.tree(&path.tree, &with(path.ident.to_string())),
                UseTree::Name(name) => self.add(&with(name.ident.to_string())),
                UseTree::Rename(name) => self.add(&with(name.ident.to_string())),
                UseTree::Glob(_) => self.add(before),
                UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
            }
        }
    }

    impl<'ast> Visit<'ast> for Names<'_> {
        fn visit_item_use(&mut self, item: &'ast ItemUse) {
            self.tree(&item.tree, &[]);
        }

        fn visit_path(&mut self, path: &'ast syn::Path) {
            if path.segments.len() > 1 {
                self.add(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
            }
            syn::visit::visit_path(self, path);
        }

        fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
            // Inline test modules may name everything.
            if item.ident != "tests" {
                syn::visit::visit_item_mod(self, item);
            }
        }
    }

    let mut names = Names(module, Vec::new());
    names.visit_file(&syn::parse_file(text).unwrap());
    names.1
}

/// `domain` for `domain::roster`; `server::store` for `server::store::memory`.
fn top_of(module: &str) -> &str {
    let depth = if module.starts_with("server::") { 2 } else { 1 };
    let end = module.match_indices("::").nth(depth - 1).map_or(module.len(), |(at, _)| at);
    &module[..end]
}

fn is_within(name: &str, module: &str) -> bool {
    name == module || name.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"))
}

/// The row of a table that applies to a module, with its permissions.
fn most_specific<'a>(table: &[(&'a str, &'a [&'a str])], module: &str) -> Option<(&'a str, &'a [&'a str])> {
    let rows = table.iter().filter(|(row, _)| is_within(module, row));
    rows.max_by_key(|(row, _)| row.len()).copied()
}
