//! The order of the modules inside each room of `connectivity-core`. A room is a top-level module;
//! `.ci/rooms` checks the order of the rooms themselves.
//!
//! A module uses another one if it names it by a path that begins with `crate`, `super` or `self`.
//! Re-exports and the code of test modules do not count, nor does a child that its parent names
//! without `self`: a parent is the entrance to its children.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The circles that stay: a deserializer and its access types call each other, because serde's
/// visitors do.
const VISITORS: [[&str; 2]; 2] =
    [["codec::bincode::access", "codec::bincode::decoder"], ["shape::access", "shape::tracer"]];

/// The modules that each module uses, by path.
type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn modules_of_a_room_use_each_other_in_no_circle_but_for_two_visitors() {
    let mut sources = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectivity-core/src");
    read_modules(&root, "", &mut sources);
    let graph = graph(&sources);
    let visitors = VISITORS.map(|circle| circle.map(str::to_owned).into());
    let visitors = BTreeSet::from(visitors);
    let circles = circles(&graph);
    let others: String =
        circles.difference(&visitors).map(|circle| describe(circle, &graph)).collect();
    assert!(others.is_empty(), "modules use each other in a circle:\n{others}");
    assert_eq!(circles, visitors, "a circle is gone: remove it from the list");
}

/// Reads the source of each module below a folder, by the path of the module.
fn read_modules(folder: &Path, prefix: &str, sources: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let module = if prefix.is_empty() { stem.to_owned() } else { format!("{prefix}::{stem}") };
        if matches!(stem, "tests" | "testing" | "fuzzing" | "lib") {
            continue;
        }
        if path.is_dir() {
            read_modules(&path, &module, sources);
        } else {
            let module = if stem == "mod" { prefix.to_owned() } else { module };
            sources.insert(module, code(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Returns the code of a file without comments and tests.
fn code(source: &str) -> String {
    let source = source.split("\nmod tests {").next().unwrap_or_default();
    source.lines().flat_map(|line| [line.split("//").next().unwrap_or_default(), "\n"]).collect()
}

fn graph(sources: &BTreeMap<String, String>) -> Graph {
    let uses = |(module, code): (&String, &String)| {
        let used = paths(code).into_iter().filter_map(|path| resolve(module, &path, sources));
        (module.clone(), used.filter(|used| used != module).collect())
    };
    sources.iter().map(uses).collect()
}

/// Returns the paths that code names, those of `use` declarations among them.
fn paths(code: &str) -> Vec<String> {
    let (mut paths, mut rest) = (Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some((visibility, tree)) = use_declaration(line) else {
            rest.extend([line, "\n"]);
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().expect("a `;` ends the declaration"));
        }
        if visibility.is_empty() {
            expand("", tree.split(';').next().unwrap_or_default(), &mut paths);
        }
    }
    let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    // The path in `pub(in path)` limits a visibility; it uses nothing.
    let rest = rest.replace("pub(in ", "pub(in_");
    paths.extend(rest.split(|c| !is_of_path(c)).filter(|path| path.contains("::")).map(Into::into));
    paths
}

/// Splits a line that begins a `use` declaration into its visibility and its tree.
fn use_declaration(line: &str) -> Option<(&str, &str)> {
    let (visibility, tree) = line.trim().split_once("use ")?;
    (visibility.is_empty() || visibility.starts_with("pub")).then_some((visibility, tree))
}

/// Adds the paths of a `use` tree, which may nest braces.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let mut depth = 0_usize;
    let branches = tree.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    for branch in branches.map(str::trim).filter(|branch| !branch.is_empty()) {
        match branch.split_once('{') {
            Some((path, inner)) => {
                expand(&format!("{prefix}{path}"), inner.strip_suffix('}').unwrap_or(inner), paths);
            }
            None => {
                let name = branch.split(" as ").next().unwrap_or_default();
                paths.push(format!("{prefix}{name}"));
            }
        }
    }
}

/// Returns the module that a path leads to from another module, if it begins with `crate`, `super`
/// or `self`.
fn resolve(module: &str, path: &str, sources: &BTreeMap<String, String>) -> Option<String> {
    let mut names = path.split("::").peekable();
    let mut at: Vec<_> = match names.peek() {
        Some(&"crate") => Vec::new(),
        Some(&("super" | "self")) => module.split("::").collect(),
        _ => return None,
    };
    for name in names {
        match name {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            name => at.push(name),
        }
    }
    // The last names may be those of items.
    while !at.is_empty() && !sources.contains_key(&at.join("::")) {
        at.pop();
    }
    (!at.is_empty()).then(|| at.join("::"))
}

/// Returns the sets of modules of one room that all reach each other.
fn circles(graph: &Graph) -> BTreeSet<BTreeSet<String>> {
    let reachable: Graph = graph.keys().map(|from| (from.clone(), reach(from, graph))).collect();
    let circle = |module: &String| -> BTreeSet<String> {
        let reached = reachable[module].iter();
        reached.filter(|other| reachable[*other].contains(module)).cloned().collect()
    };
    graph.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

/// Returns the modules of its room that a module uses, also by way of others.
fn reach(from: &str, graph: &Graph) -> BTreeSet<String> {
    let (mut reached, mut pending) = (BTreeSet::new(), vec![from]);
    while let Some(module) = pending.pop() {
        for used in graph[module].iter().filter(|used| room(used) == room(from)) {
            if reached.insert(used.clone()) {
                pending.push(used);
            }
        }
    }
    reached
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Lists the uses inside a circle, one module per line, with an empty line behind them.
fn describe(circle: &BTreeSet<String>, graph: &Graph) -> String {
    let uses = |module: &String| {
        let used: Vec<_> = graph[module].intersection(circle).map(String::as_str).collect();
        format!("    {module} -> {}\n", used.join(", "))
    };
    let list: String = circle.iter().map(uses).collect();
    list + "\n"
}
