//! Runs the program on real files.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A routes file created by the program.
struct File {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = Self { path: dir.path().join("routes.db"), _dir: dir };
        file.run(&["init"], &[]).unwrap();
        file
    }

    /// Runs `connectivity COMMAND FILE ARGUMENTS`. Returns its output, or its error output if it
    /// fails.
    fn run(&self, command: &[&str], arguments: &[&str]) -> Result<String, String> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_connectivity"));
        let output = program.args(command).arg(&self.path).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    fn set(&self, arguments: &[&str]) -> Result<String, String> {
        self.run(&["set"], arguments)
    }

    /// Returns the rows as `routes` lists them, without the first line, which counts them.
    fn routes(&self) -> Vec<String> {
        self.run(&["routes"], &[]).unwrap().lines().skip(1).map(str::to_owned).collect()
    }
}

fn assert_contains(text: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| text.contains(part)), "{text:?} should hold {parts:?}");
}

#[test]
fn a_route_is_set_moved_deleted_and_rolled_back() {
    let file = File::new();
    let output = file
        .set(&["billing", "--strategy", "http", "--endpoint", "http://10.0.0.5/billing"])
        .unwrap();
    assert_contains(
        &output,
        &["done:", "1  ", "Insert  -  =>  billing  http  http://10.0.0.5/billing"],
    );
    let output =
        file.set(&["billing", "--strategy", "http", "--config", r#"{"timeout_ms":500}"#]).unwrap();
    assert_contains(&output, &["Update", "(another config)"]);
    assert!(!output.contains("timeout_ms"), "a config may hold header values: {output}");
    assert_contains(&file.set(&["billing", "--strategy", "http"]).unwrap(), &["nothing to change"]);
    assert_contains(
        &file.set(&["billing", "--strategy", "local"]).unwrap(),
        &["billing  local  http://10.0.0.5/billing"],
    );
    assert_eq!(file.routes(), ["billing  local  http://10.0.0.5/billing"]);
    assert_contains(&file.run(&["delete"], &["billing"]).unwrap(), &["Delete", "=>  -"]);
    assert_eq!(file.routes(), [""; 0]);
    assert_contains(
        &file.run(&["rollback"], &["2"]).unwrap(),
        &["     5  ", "Insert  -  =>  billing  http"],
    );
    assert_contains(
        &file.run(&["rollback"], &["3", "--name", "billing"]).unwrap(),
        &["Update", "=>  billing  local"],
    );
    assert_contains(&file.run(&["history"], &["--limit", "1"]).unwrap(), &["     6  "]);
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let file = File::new();
    file.set(&["billing", "--strategy", "local"]).unwrap();
    let expected = ["not done, only tried:", "Update", "billing  noop"];
    assert_contains(&file.set(&["billing", "--strategy", "noop", "--dry-run"]).unwrap(), &expected);
    assert_contains(
        &file.run(&["delete", "--dry-run"], &["billing"]).unwrap(),
        &["not done", "Delete"],
    );
    assert_contains(
        &file.run(&["rollback", "--dry-run"], &["0"]).unwrap(),
        &["not done", "Delete"],
    );
    assert_contains(
        &file.set(&["billing", "--strategy", "quic", "--dry-run"]).unwrap_err(),
        &["endpoint: "],
    );
    assert_eq!(file.routes(), ["billing  local  -"]);
}

#[test]
fn what_is_wrong_is_told_and_fails() {
    let file = File::new();
    file.set(&["billing", "--strategy", "local"]).unwrap();
    for (arguments, expected) in [
        (
            &["billing", "--strategy", "htpp"][..],
            &["connectivity: strategy: this file knows no `htpp`; it knows dbsync, embed, http"][..],
        ),
        (&["billing", "--strategy", "quic"], &["endpoint: strategy `quic` needs one"]),
        (&["bill ing", "--strategy", "local"], &["service_name: ", "no name"]),
        (&["billing", "--strategy", "local", "--config", "timeout_ms=5"], &["config"]),
        (
            &["billing", "--strategy", "local", "--config", r#"{"timout_ms":5}"#],
            &["config.timout_ms: unknown key; did you mean `timeout_ms`?"],
        ),
        (&["billing"], &["--strategy"]),
    ] {
        assert_contains(&file.set(arguments).unwrap_err(), expected);
    }
    let unknown = "no route is called `biling`; did you mean `billing`?";
    assert_contains(&file.run(&["delete"], &["biling"]).unwrap_err(), &[unknown]);
    assert_contains(&file.run(&["rollback"], &["0", "--name", "biling"]).unwrap_err(), &[unknown]);
    assert_contains(
        &file.run(&["rollback"], &["7"]).unwrap_err(),
        &["generation 7", "from 0 to 1"],
    );
    let missing =
        File { path: file.path.with_file_name("missing.db"), _dir: tempfile::tempdir().unwrap() };
    assert_contains(
        &missing.set(&["billing", "--strategy", "local"]).unwrap_err(),
        &["missing.db", "connectivity init"],
    );
    assert!(!missing.path.exists());
    assert_eq!(file.routes(), ["billing  local  -"]);
}

#[test]
fn whoever_stops_reading_is_no_error() {
    let file = File::new();
    for strategy in ["local", "noop"] {
        file.set(&["billing", "--strategy", strategy, "--config", r#"{"tool_name":"t"}"#]).unwrap();
    }
    let commands: [&[&str]; 6] = [
        &["init", "FILE"],
        &["routes", "FILE"],
        &["history", "FILE"],
        &["set", "FILE", "billing", "--strategy", "local"],
        &["rollback", "FILE", "1"],
        &["delete", "FILE", "billing"],
    ];
    for command in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let arguments = command.iter().map(|argument| match *argument {
            "FILE" => file.path.as_os_str(),
            argument => argument.as_ref(),
        });
        let output = Command::new(env!("CARGO_BIN_EXE_connectivity"))
            .args(arguments)
            .stdout(writer)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.success() && stderr.is_empty(),
            "{command:?}: {:?}: {stderr}",
            output.status
        );
    }
    assert_eq!(file.routes(), [""; 0], "what was asked for is done");
}

#[test]
fn a_rollback_names_the_rows_that_were_bad() {
    let file = File::new();
    let sql = r#"INSERT INTO routes(service_name, strategy, config) VALUES ('billing', 'local', '{"timeout_ms":"5"}')"#;
    assert!(Command::new("sqlite3").arg(&file.path).arg(sql).status().unwrap().success());
    file.set(&["billing", "--strategy", "local", "--config", "{}"]).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_connectivity"))
        .args(["rollback", file.path.to_str().unwrap(), "1"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_contains(
        &text,
        &["warning: the row `billing` is bad, as it was then: config.timeout_ms"],
    );
    assert!(output.status.success());
}

#[test]
fn every_command_explains_itself() {
    for command in ["init", "routes", "history", "set", "delete", "rollback"] {
        let output = Command::new(env!("CARGO_BIN_EXE_connectivity"))
            .args([command, "--help"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("<FILE>"), "{text}");
    }
}

#[test]
fn an_agent_has_the_tools_of_the_admin() {
    let file = File::new();
    let request = |id: u8, name: &str, arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
        )
    };
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let tried = request(2, "routes.upsert", r#"{"name":"tried","strategy":"noop"}"#);
    let done = request(3, "routes.upsert", r#"{"name":"done","strategy":"noop","dry_run":false}"#);
    let session = format!("{hello}\n{tried}\n{done}\n");
    let mut process = Command::new(env!("CARGO_BIN_EXE_connectivity"))
        .args(["mcp", file.path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(session.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_contains(&text, &["not done, only tried", r#""outcome":"done""#]);
    assert_eq!(file.routes(), ["done  noop  -"]);
}
