//! Asserts the exact output of the examples.

use std::error::Error;
use std::path::Path;
use std::process::Command;

/// Runs an example that `cargo test` has built next to this test. Returns its output lines.
fn output_lines(name: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("examples").join(name);
    let path = path.with_extension(std::env::consts::EXE_EXTENSION);
    if !path.exists() {
        return Err(format!("{} is not built: run `cargo test -p examples`", path.display()).into());
    }
    let output = Command::new(path).output()?;
    let log = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{name}: {log}");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

#[test]
fn a_service_moves_to_another_router_and_back() -> Result<(), Box<dyn Error>> {
    assert_eq!(
        output_lines("quickstart")?,
        [
            "order-17 was paid here",
            "order-18 was paid elsewhere",
            "order-19: card declined",
            "order-20 was paid here",
        ]
    );
    Ok(())
}

#[test]
fn two_services_become_tools_of_a_second_process_and_come_back() -> Result<(), Box<dyn Error>> {
    assert_eq!(
        output_lines("tool-calls")?,
        [
            "local: answered here",
            "mcp over QUIC: answered there",
            "mcp over HTTP: answered there",
            "local: answered here",
            "0 calls failed",
        ]
    );
    Ok(())
}

#[test]
fn a_service_is_switched_off_and_on() -> Result<(), Box<dyn Error>> {
    let on = [
        "local",
        "  the post office sends a mail to ada@example.com",
        "  send: no error",
        "  waiting: 3",
        "  preview: Thank you for order-17",
        "  thumbnail: 5 bytes",
    ];
    let off = [
        "noop",
        "  send: no error",
        "  waiting: 0",
        "  preview: switched off",
        "  thumbnail: 0 bytes",
    ];
    assert_eq!(output_lines("noop-switch")?, [&on[..], &off, &on].concat());
    Ok(())
}

#[test]
fn a_circuit_opens_refuses_and_recovers() -> Result<(), Box<dyn Error>> {
    assert_eq!(
        output_lines("circuit-breaker")?,
        [
            "order-1: nobody is there; the circuit is closed, 1 failures in a row",
            "order-2: nobody is there; the circuit is closed, 2 failures in a row",
            "order-3: nobody is there; the circuit is open",
            "order-4: refused unsent; the circuit is open",
            "the far end starts",
            "order-5: refused unsent; the circuit is open",
            "the row says 10 ms",
            "order-6: paid 100 cents; the circuit is half open, 1 good probes",
            "order-7: paid 100 cents; the circuit is closed, 0 failures in a row",
            "order-8: paid 100 cents; the circuit is closed, 0 failures in a row",
        ]
    );
    Ok(())
}

#[test]
fn each_layer_of_the_stack_does_its_part() -> Result<(), Box<dyn Error>> {
    assert_eq!(
        output_lines("middleware")?,
        [
            "refused twice, then answered: 42",
            "a panic: the implementation panicked, sent: yes",
            "no answer in time: the deadline passed, sent: maybe",
            "refused for good: the circuit is open, sent: no",
            "once more: the circuit is open, sent: no",
            "after a reset: 42",
        ]
    );
    Ok(())
}
