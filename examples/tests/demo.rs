//! Runs the demo as a user does: as a real process, which starts another one.

use std::error::Error;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs the demo and parses the last line of its stdout. Asserts that no task panicked.
fn run(arguments: &[&str]) -> Result<(bool, Value), Box<dyn Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_demo")).args(arguments).output()?;
    let log = String::from_utf8(output.stderr)?;
    assert!(!log.contains("panicked"), "{log}");
    for line in ["kill -KILL", "is in its place"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().ok_or("the demo wrote nothing")?;
    Ok((output.status.success(), serde_json::from_str(last)?))
}

fn number(report: &Value, pointer: &str) -> u64 {
    report
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no {pointer} in {report}"))
}

#[test]
fn no_call_is_lost_or_misrouted_while_rows_flip_and_a_process_is_killed()
-> Result<(), Box<dyn Error>> {
    let (success, report) = run(&["--seconds", "5", "--json"])?;
    assert!(success, "{report}");
    for nothing in ["/failed", "/misrouted", "/far_end/without_deadline"] {
        assert_eq!(number(&report, nothing), 0, "{nothing}: {report}");
    }
    for something in ["/flips", "/checked"] {
        assert!(number(&report, something) > 0, "{something}: {report}");
    }
    let calls = |strategy| number(&report, &format!("/strategies/{strategy}/calls"));
    let answered: u64 = ["http", "quic", "unix", "mcp"].map(calls).iter().sum();
    let lost = ["/kill/may_have_run", "/kill/carried_over"]
        .map(|count| number(&report, count))
        .iter()
        .sum::<u64>();
    assert!((answered..=answered + lost).contains(&number(&report, "/far_end/calls")), "{report}");
    assert!(
        number(&report, "/kill/interrupted") > 0 && number(&report, "/kill/back_after_ms") > 0,
        "{report}"
    );
    for strategy in ["local", "http", "quic", "unix", "mcp", "noop"] {
        assert!(calls(strategy) > 0, "{strategy}: {report}");
        let [p50, p99] = ["p50_ns", "p99_ns"]
            .map(|quantile| number(&report, &format!("/strategies/{strategy}/{quantile}")));
        assert!(0 < p50 && p50 <= p99, "{strategy}: {report}");
    }
    Ok(())
}

#[cfg(unix)]
mod ending {
    use std::io::{BufRead, BufReader, Read};
    use std::path::Path;
    use std::process::Child;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;

    /// Starts the demo. Its files are in a folder that the test can remove if it kills the demo.
    fn start(arguments: &[&str], folder: &Path) -> Result<Child, Box<dyn Error>> {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
        Ok(demo
            .args(arguments)
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?)
    }

    fn signal(name: &str, id: u32) -> Result<(), Box<dyn Error>> {
        Command::new("kill")
            .args([format!("-{name}"), id.to_string()])
            .status()?
            .success()
            .then_some(())
            .ok_or("kill")?;
        Ok(())
    }

    #[test]
    fn ctrl_c_ends_a_run_with_its_summary() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut demo = start(&["--seconds", "600"], folder.path())?;
        let mut lines = BufReader::new(demo.stdout.take().ok_or("no stdout")?).lines();
        let first = lines.next().ok_or("no flip")??;
        assert!(first.contains("UPDATE routes SET strategy='http'"), "{first}");
        signal("INT", demo.id())?;
        let text = lines.collect::<Result<Vec<_>, _>>()?.join("\n");
        assert!(
            text.contains("0 failed, 0 misrouted") && text.contains("the second process counted"),
            "{text}"
        );
        assert!(demo.wait()?.success());
        Ok(())
    }

    /// Extracts the address of the second process from the first statement that contains it.
    fn second_process_address(first_flip: &str) -> Option<&str> {
        first_flip.split("http://").nth(1)?.split('/').next()
    }

    #[test]
    fn the_second_process_never_outlives_the_first() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut demo = start(&["--seconds", "600"], folder.path())?;
        let mut lines = BufReader::new(demo.stdout.take().ok_or("no stdout")?).lines();
        let first = lines.next().ok_or("no flip")??;
        let address = second_process_address(&first).ok_or("no address")?;
        assert!(std::net::TcpStream::connect(address).is_ok(), "{first}");
        demo.kill()?;
        demo.wait()?;
        let start = Instant::now();
        while std::net::TcpStream::connect(address).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(20), "{address} still listens");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    #[test]
    fn keep_says_what_to_try_and_shows_what_was_done() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut demo = start(&["--keep"], folder.path())?;
        let mut lines = BufReader::new(demo.stdout.take().ok_or("no stdout")?).lines();
        let mut hints = String::new();
        while !hints.contains("Ctrl-C ends.") {
            hints += &(lines.next().ok_or("no hints")?? + "\n");
        }
        let statement = hints.lines().find(|line| line.contains("'noop'")).ok_or("no statement")?;
        let (path, sql) = statement
            .trim()
            .strip_prefix("sqlite3 ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or("no path")?;
        let connection = rusqlite::Connection::open(path)?;
        let name: String = connection.query_row(sql.trim_matches('"'), [], |row| row.get(0))?;
        assert_eq!(name, "billing.quote");
        let shown =
            lines.by_ref().map_while(Result::ok).find(|line| line.contains("billing.quote"));
        assert_eq!(shown.as_deref(), Some("insert billing.quote: (no row) -> noop"));
        signal("TERM", demo.id())?;
        let mut stderr = String::new();
        demo.stderr.take().ok_or("no stderr")?.read_to_string(&mut stderr)?;
        assert!(demo.wait()?.success(), "{stderr}");
        Ok(())
    }
}
