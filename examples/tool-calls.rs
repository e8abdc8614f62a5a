//! How do I call the tools of an MCP server as if they were my own service? With a row: `strategy =
//! 'mcp'`.
//!
//! ```text
//! cargo run --example tool-calls
//! ```
//!
//! A typed service and a raw service move to a second process, which serves them as tools over QUIC
//! and over HTTP, and back again, while eight callers keep calling. No call fails, and the code of
//! the callers does not change.
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
    /// Returns the weather forecast.
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

/// Registers both services, in both processes: a typed one, and a raw one whose bytes are JSON
/// here.
fn register(router: &Router, by: &'static str) -> Result<(), connectivity_core::RegisterError> {
    register!(router, Weather => Station { by })?;
    router.register_raw("notes", move |note: Bytes| async move {
        let note: Value = serde_json::from_slice(&note).unwrap_or_default();
        Ok(json!({ "kept": note["text"], "by": by }).to_string().into())
    })
}

/// Runs the second process: serves tools over QUIC and over HTTP until its standard input ends.
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

/// Starts this program again as the second process. Returns its addresses and the pin of its
/// certificate.
fn second_process() -> Result<(Child, [String; 3]), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg("--serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    Ok((child, words.try_into().map_err(|_| "the second process has not started")?))
}

/// The replies that callers received from each process, and failures.
#[derive(Debug, Default)]
struct Replies {
    here: AtomicU64,
    there: AtomicU64,
    failed: AtomicU64,
}

impl Replies {
    fn note(&self, by: Option<&str>) {
        let count = match by {
            Some("here") => &self.here,
            Some("there") => &self.there,
            _ => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn call_forever(router: Router, replies: [Arc<Replies>; 2]) {
    let weather = WeatherClient::new(&router);
    loop {
        let forecast = weather.forecast("Tromsø", 3).await;
        replies[0].note(forecast.ok().as_ref().map(|forecast| forecast.by.as_str()));
        let note = router.call("notes", r#"{"text":"buy bread"}"#).await.unwrap_or_default();
        let note: Value = serde_json::from_slice(&note).unwrap_or_default();
        replies[1].note(note["by"].as_str());
        tokio::task::yield_now().await;
    }
}

/// Updates both rows, as an operator would in the SQLite shell. `{tool}` in `set` is replaced by
/// the `tool_name` of the raw service.
fn update_rows(routes: &Path, set: &str) -> Result<(), Box<dyn Error>> {
    let connection = rusqlite::Connection::open(routes)?;
    for row in ["weather", "notes"] {
        // A raw service has no methods that could name tools, so its row names one.
        let set = set.replace("{tool}", if row == "notes" { ", 'tool_name', 'notes'" } else { "" });
        connection.execute(&format!("UPDATE routes SET {set} WHERE service_name = '{row}'"), [])?;
    }
    Ok(())
}

/// Waits until a process has answered 100 more calls of each service.
async fn wait_for_replies(replies: &[Arc<Replies>; 2], process: fn(&Replies) -> &AtomicU64) {
    let before = replies.each_ref().map(|replies| process(replies).load(Ordering::Relaxed));
    for (replies, before) in replies.iter().zip(before) {
        while process(replies).load(Ordering::Relaxed) < before + 100 {
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
    // URLs of this machine are blocked unless a program allows them.
    let mcp = McpTransport::new().allow_internal();
    let router = Router::builder().transport("mcp", mcp).open_or_create(&routes).await?;
    register(&router, "here")?;

    let replies = [Arc::<Replies>::default(), Arc::default()];
    let mut callers = JoinSet::new();
    (0..8).for_each(|_| _ = callers.spawn(call_forever(router.clone(), replies.clone())));
    wait_for_replies(&replies, |replies| &replies.here).await;
    println!("local: answered here");
    update_rows(
        &routes,
        &format!(
            "strategy = 'mcp', endpoint = '{quic}', config = json_object('pin_sha256', '{pin}'{{tool}})"
        ),
    )?;
    router.reload().await?; // so that the next replies come from the new rows
    wait_for_replies(&replies, |replies| &replies.there).await;
    println!("mcp over QUIC: answered there");
    update_rows(
        &routes,
        &format!(
            "endpoint = 'http://{http}/mcp', config = json_object('timeout_ms', 5000{{tool}})"
        ),
    )?;
    router.reload().await?; // so that the next replies come from the new rows
    wait_for_replies(&replies, |replies| &replies.there).await;
    println!("mcp over HTTP: answered there");
    update_rows(&routes, "strategy = 'local'")?;
    router.reload().await?; // so that the next replies come from the new rows
    wait_for_replies(&replies, |replies| &replies.here).await;
    println!("local: answered here");
    callers.shutdown().await;
    println!(
        "{} calls failed",
        replies.iter().map(|replies| replies.failed.load(Ordering::Relaxed)).sum::<u64>()
    );

    router.close(Duration::from_secs(5)).await;
    drop(second.stdin.take());
    second.wait()?;
    Ok(())
}
