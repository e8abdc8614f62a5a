//! How does an agent use my services? As MCP tools: this server has two services, and an agent's
//! host can start it.
//!
//! ```text
//! cargo build --example mcp-tools
//! sh examples/agent.sh target/debug/examples/mcp-tools
//! npx @modelcontextprotocol/inspector --cli target/debug/examples/mcp-tools --method tools/list
//! cargo run --example mcp-tools -- --http 127.0.0.1:8080 --quic 127.0.0.1:4434
//! ```
//!
//! Without an address it serves one session over standard input and output. With an address it
//! serves until Ctrl-C.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use clap::Parser;
use connectivity_core::{Exposure, Mcp, MemoryRoutes, Router, Server, Tls, register, service};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// An article and how many there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Article {
    name: String,
    count: u32,
    /// What one costs, where it is for sale.
    cents: Option<u64>,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum StockError {
    #[error("there is no such article")]
    NoSuchArticle,
    #[error("only {left} left")]
    TooFew { left: u32 },
    #[error(transparent)]
    Connectivity(#[from] connectivity_core::Error),
}

#[service]
trait Stock {
    /// Lists the articles whose name holds this text, and how many there are of each.
    #[readonly]
    async fn find(&self, text: &str) -> Result<Vec<Article>, StockError>;
    /// Takes articles off the shelf, and says how many are left.
    async fn take(&self, article: &str, count: u32) -> Result<u32, StockError>;
}

#[service]
trait Clock {
    /// Adds up minutes and hours, such as ["90m", "2h"], in minutes.
    #[readonly]
    async fn add(&self, times: Vec<String>) -> Result<u64, connectivity_core::Error>;
}

struct Shelf(Mutex<BTreeMap<String, Article>>);

impl Shelf {
    fn full() -> Self {
        let article = |name: &str, count, cents| {
            (name.to_owned(), Article { name: name.to_owned(), count, cents })
        };
        Self(Mutex::new(BTreeMap::from([
            article("nails", 700, Some(3)),
            article("nuts", 12, None),
        ])))
    }
}

impl Stock for Shelf {
    async fn find(&self, text: &str) -> Result<Vec<Article>, StockError> {
        let articles = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(articles.values().filter(|article| article.name.contains(text)).cloned().collect())
    }

    async fn take(&self, article: &str, count: u32) -> Result<u32, StockError> {
        let mut articles = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let article = articles.get_mut(article).ok_or(StockError::NoSuchArticle)?;
        article.count =
            article.count.checked_sub(count).ok_or(StockError::TooFew { left: article.count })?;
        Ok(article.count)
    }
}

struct Minutes;

impl Clock for Minutes {
    async fn add(&self, times: Vec<String>) -> Result<u64, connectivity_core::Error> {
        let minutes = |time: &String| match (time.strip_suffix('h'), time.strip_suffix('m')) {
            (Some(hours), _) => hours.parse::<u64>().ok()?.checked_mul(60),
            (_, Some(minutes)) => minutes.parse().ok(),
            _ => None,
        };
        let sum = times.iter().try_fold(0_u64, |sum, time| sum.checked_add(minutes(time)?));
        let wrong = || {
            connectivity_core::Error::new(
                connectivity_core::ErrorKind::Decode,
                "clock.add",
                "write 90m or 2h",
            )
        };
        sum.ok_or_else(wrong)
    }
}

#[derive(Parser)]
struct Arguments {
    /// Answers MCP over HTTP, at /mcp of this address.
    #[arg(long)]
    http: Option<String>,
    /// Answers MCP over QUIC.
    #[arg(long)]
    quic: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router, Stock => Shelf::full(), Clock => Minutes)?;
    let mcp = || Mcp::new(router.inbound(Exposure::services(["stock", "clock"])));
    if arguments.http.is_none() && arguments.quic.is_none() {
        return Ok(mcp().serve_stdio().await?);
    }
    if let Some(address) = arguments.http {
        let app: axum::Router = axum::Router::new().nest("/mcp", mcp().into_router());
        let socket = TcpListener::bind(address).await?;
        println!("http://{}/mcp", socket.local_addr()?);
        tokio::spawn(async move { axum::serve(socket, app).await });
    }
    let mut server = None;
    if let Some(address) = arguments.quic {
        let tls = Tls::self_signed(["localhost", "127.0.0.1"])?;
        let pin = tls.pin_sha256();
        let started =
            Server::builder(&router).expose(["stock", "clock"]).mcp(address, tls).start().await?;
        println!("mcp over QUIC: {}, pin_sha256 {pin}", started.address("mcp").unwrap_or_default());
        server = Some(started);
    }
    tokio::signal::ctrl_c().await?;
    if let Some(server) = server {
        server.shutdown(Duration::from_secs(10)).await;
    }
    Ok(())
}
