//! How do I call the tools of an MCP server as if they were a service of mine? By a row: `strategy
//! = 'mcp'`.
//!
//! ```text
//! cargo run --example tool-calls
//! ```
//!
//! A service with a contract and a raw one move to a second process, which serves them as tools
//! over QUIC and over HTTP, and back, while eight callers go on calling. No call fails, and no line
//! of theirs knows.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use connectivity_core::{
    HttpListener, McpListener, McpTransport, MemoryRoutes, RawForm, Router, Server, Tls, register,
    service,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

#[derive(Debug, Serialize, Deserialize)]
struct Forecast {
    degrees: i32,
    by: String,
}

#[service]
trait Weather {
    /// What the weather will be.
    #[readonly]
    async fn forecast(&self, city: &str, days: u32) -> Result<Forecast, connectivity_core::Error>;
}

struct Station {
    by: &'static str,
}

impl Weather for Station {
    async fn forecast(&self, city: &str, days: u32) -> Result<Forecast, connectivity_core::Error> {
        Ok(Forecast { degrees: city.len() as i32 + days as i32, by: self.by.to_owned() })
    }
}

/// Registers both services, as both processes do: one with a contract, and one of bytes, which are
/// JSON here.
fn register(router: &Router, by: &'static str) -> Result<(), connectivity_core::RegisterError> {
    register!(router, Weather => Station { by })?;
    router.register_raw("notes", move |note: Bytes| async move {
        let note: Value = serde_json::from_slice(&note).unwrap_or_default();
        Ok(json!({ "kept": note["text"], "by": by }).to_string().into())
    })
}

/// The second process: tools over QUIC and over HTTP, until its standard input ends.
async fn serve() -> Result<(), Box<dyn Error>> {
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register(&router, "there")?;
    let tls = Tls::self_signed(["localhost"])?;
    let pin = tls.pin_sha256();
    let quic = McpListener::new("127.0.0.1:0", tls).mcp(|mcp| mcp.raw("notes", RawForm::Json));
    let http = HttpListener::new("127.0.0.1:0").mcp(|mcp| mcp.raw("notes", RawForm::Json));
    let builder = Server::builder(&router).expose(["weather", "notes"]);
    let server = builder.listener("mcp", quic).listener("http", http).start().await?;
    let address = |listener| server.address(listener).unwrap_or_default();
    println!("{} {} {pin}", address("mcp"), address("http"));
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// Starts this program again, as the second process; gives its addresses and the pin of its
/// certificate.
fn second_process() -> Result<(Child, [String; 3]), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg("--serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    let told: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    Ok((child, told.try_into().map_err(|_| "the second process has not started")?))
}

/// What callers saw: answers from here, answers from there, and failures.
#[derive(Debug, Default)]
struct Seen {
    here: AtomicU64,
    there: AtomicU64,
    failed: AtomicU64,
}

impl Seen {
    fn note(&self, by: Option<&str>) {
        let count = match by {
            Some("here") => &self.here,
            Some("there") => &self.there,
            _ => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn call_on_and_on(router: Router, seen: [Arc<Seen>; 2]) {
    let weather = WeatherClient::new(&router);
    loop {
        let forecast = weather.forecast("Tromsø", 3).await;
        seen[0].note(forecast.ok().as_ref().map(|forecast| forecast.by.as_str()));
        let note = router.call("notes", r#"{"text":"buy bread"}"#).await.unwrap_or_default();
        let note: Value = serde_json::from_slice(&note).unwrap_or_default();
        seen[1].note(note["by"].as_str());
        tokio::task::yield_now().await;
    }
}

/// What an operator types into a SQLite shell; `{row}` is the name of the row.
fn move_both(routes: &Path, set: &str) -> Result<(), Box<dyn Error>> {
    let connection = rusqlite::Connection::open(routes)?;
    for row in ["weather", "notes"] {
        // A raw service has no methods whose names could be those of tools, so its row names one.
        let set = set.replace("{tool}", if row == "notes" { ", 'tool_name', 'notes'" } else { "" });
        connection.execute(&format!("UPDATE routes SET {set} WHERE service_name = '{row}'"), [])?;
    }
    Ok(())
}

/// Waits until each service was answered a hundred times more from a place.
async fn answered(seen: &[Arc<Seen>; 2], place: fn(&Seen) -> &AtomicU64) {
    let before = seen.each_ref().map(|seen| place(seen).load(Ordering::Relaxed));
    for (seen, before) in seen.iter().zip(before) {
        while place(seen).load(Ordering::Relaxed) < before + 100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().any(|argument| argument == "--serve") {
        return serve().await;
    }
    let (mut second, [quic, http, pin]) = second_process()?;
    let folder = tempfile::tempdir()?;
    let routes = folder.path().join("routes.db");
    // URLs of this machine are closed unless a program opens them.
    let mcp = McpTransport::new().allow_internal();
    let router = Router::builder().transport("mcp", mcp).open_or_create(&routes).await?;
    register(&router, "here")?;

    let seen = [Arc::<Seen>::default(), Arc::default()];
    let mut callers = JoinSet::new();
    (0..8).for_each(|_| _ = callers.spawn(call_on_and_on(router.clone(), seen.clone())));
    answered(&seen, |seen| &seen.here).await;
    println!("local: answered here");
    move_both(
        &routes,
        &format!(
            "strategy = 'mcp', endpoint = '{quic}', config = json_object('pin_sha256', '{pin}'{{tool}})"
        ),
    )?;
    router.reload().await?; // so that the next answers are those of the new rows
    answered(&seen, |seen| &seen.there).await;
    println!("mcp over QUIC: answered there");
    move_both(
        &routes,
        &format!(
            "endpoint = 'http://{http}/mcp', config = json_object('timeout_ms', 5000{{tool}})"
        ),
    )?;
    router.reload().await?; // so that the next answers are those of the new rows
    answered(&seen, |seen| &seen.there).await;
    println!("mcp over HTTP: answered there");
    move_both(&routes, "strategy = 'local'")?;
    router.reload().await?; // so that the next answers are those of the new rows
    answered(&seen, |seen| &seen.here).await;
    println!("local: answered here");
    callers.shutdown().await;
    println!(
        "{} calls failed",
        seen.iter().map(|seen| seen.failed.load(Ordering::Relaxed)).sum::<u64>()
    );

    router.close(Duration::from_secs(5)).await;
    drop(second.stdin.take());
    second.wait()?;
    Ok(())
}
