//! Runs the MCP server as an agent's host starts it.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The responses of a session, by id.
type Answers = BTreeMap<u64, Value>;

fn example() -> Result<String, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("examples").join("mcp-tools");
    let path = path.with_extension(std::env::consts::EXE_EXTENSION);
    if !path.exists() {
        return Err(format!("{} is not built: run `cargo test -p examples`", path.display()).into());
    }
    Ok(path.display().to_string())
}

fn answers(output: &[u8]) -> Result<Answers, Box<dyn Error>> {
    let lines = std::str::from_utf8(output)?.lines().map(|line| {
        let answer: Value = serde_json::from_str(line)?;
        Ok((answer["id"].as_u64().ok_or("no id")?, answer))
    });
    lines.collect()
}

#[test]
fn the_script_of_an_agent() -> Result<(), Box<dyn Error>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/agent.sh");
    let output = Command::new("sh").arg(script).arg(example()?).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = answers(&output.stdout)?;
    assert_eq!(answers[&1]["result"]["protocolVersion"], "2025-11-25");
    let tools = answers[&2]["result"]["tools"].as_array().ok_or("no tools")?;
    let names: Vec<_> =
        tools.iter().map(|tool| tool["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["clock.add", "stock.find", "stock.take"]);
    assert_eq!(
        answers[&3]["result"]["structuredContent"]["result"][1],
        json!({ "name": "nuts", "count": 12, "cents": null })
    );
    let too_few = json!({ "content": [{ "type": "text", "text": r#"{"TooFew":{"left":12}}"# }], "isError": true });
    assert_eq!(answers[&4]["result"], too_few);
    assert_eq!(answers[&5]["result"]["structuredContent"], json!({ "result": 210 }));
    Ok(())
}

#[test]
fn an_endless_line_ends_the_process_with_a_reason() -> Result<(), Box<dyn Error>> {
    let mut process = Command::new(example()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = process.stdin.take().ok_or("no stdin")?;
    // Stdin stays open: the process ends by itself.
    let piece = vec![b'x'; 1 << 20];
    while stdin.write_all(&piece).is_ok() {}
    let output = process.wait_with_output()?;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("a message had no end"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("-32600"));
    Ok(())
}
