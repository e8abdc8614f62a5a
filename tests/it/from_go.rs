//! Checks that the tests named in `docs/from-go.md` exist.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Adds the names of all tests below a folder.
fn tests_in(folder: &Path, names: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            names.extend(text.split("test").skip(1).filter_map(test_after).map(str::to_owned));
        }
    }
}

/// Returns the name of the function after the rest of a test attribute: `]` or `(start_paused =
/// true)]`.
fn test_after(rest: &str) -> Option<&str> {
    let (arguments, after) = rest.split_once(']')?;
    let attribute = arguments.is_empty() || arguments.starts_with('(') && !arguments.contains('\n');
    let function = after
        .trim_start()
        .trim_start_matches("async ")
        .strip_prefix("fn ")
        .filter(|_| attribute)?;
    function.split_once("()").map(|(name, _)| name)
}

/// Parses the rows of the tables of faults into numbers and names of tests.
fn faults(text: &str) -> Vec<(String, Vec<String>)> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = text.lines().map(cells).filter(|cells| cells.len() == 6 && cells[1].contains('.'));
    rows.map(|cells| {
        (cells[1].clone(), cells[4].split('`').skip(1).step_by(2).map(str::to_owned).collect())
    })
    .collect()
}

#[test]
fn each_fault_of_the_original_has_a_test_that_is_there() {
    let mut tests = HashSet::new();
    for folder in ["tests/it", "connectivity-core/src"] {
        tests_in(&workspace().join(folder), &mut tests);
    }
    let faults = faults(&fs::read_to_string(workspace().join("docs/from-go.md")).unwrap());
    let numbers: Vec<_> = faults.iter().map(|(number, _)| number.clone()).collect();
    let all = [("3", 25), ("4", 12), ("5", 6), ("6", 15)];
    let expected: Vec<_> = all
        .iter()
        .flat_map(|(part, last)| (1..=*last).map(move |n| format!("{part}.{n}")))
        .collect();
    assert_eq!(numbers, expected);
    for (number, names) in faults {
        assert!(!names.is_empty(), "{number} names no test");
        for name in names {
            assert!(tests.contains(&name), "{number}: no test is called {name}");
        }
    }
}
