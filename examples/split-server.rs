//! How do two programs share a service? This one implements the contract of the crate
//! `shop-contracts` and serves it over HTTP, QUIC and a Unix socket.
//!
//! ```text
//! cargo run --release --example split-server
//! ```
//!
//! Then run `split-client.rs` in another terminal, and move it from one wire to another with the
//! statements that this program prints. Ctrl-C and SIGTERM drain the calls in flight and end the
//! server.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use connectivity_core::{MemoryRoutes, Router, Server, Tls, register};
use shop_contracts::{Billing, BillingError, Receipt};
use tokio::signal::unix::{SignalKind, signal};

/// Serves billing to other programs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen for HTTP: an address of this machine, because this example asks nobody who
    /// they are.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// Where to listen for QUIC; of this machine too.
    #[arg(long, default_value = "127.0.0.1:4433")]
    quic: String,
    /// The Unix socket; only programs of the same user may connect.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("shop-billing.sock"))]
    unix: PathBuf,
}

/// Implements the contract.
struct CashDesk;

impl Billing for CashDesk {
    async fn quote(&self, cents: u64) -> Result<u64, BillingError> {
        Ok(cents + cents / 5)
    }

    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError> {
        if cents > 1_000_000 {
            return Err(BillingError::Declined);
        }
        println!("{order} pays {cents} cents");
        Ok(Receipt { order: order.to_owned(), cents, served_by: std::process::id() })
    }
}

/// Serves until the returned server is shut down or dropped.
async fn serve(arguments: &Arguments, tls: Tls) -> Result<Server, Box<dyn Error>> {
    // A server that makes no calls needs no routes file: registered services are local.
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router, Billing => CashDesk)?;
    let server = Server::builder(&router)
        .expose(["billing"])
        .http(&arguments.listen)
        .quic(&arguments.quic, tls)
        .unix(arguments.unix.display().to_string());
    Ok(server.start().await?)
}

/// Returns the statements that route a client here, to run in the client's terminal.
fn statements(server: &Server, pin: &str) -> String {
    let [http, quic, unix] =
        ["http", "quic", "unix"].map(|wire| server.address(wire).unwrap_or_default());
    let moves = [
        format!("strategy='quic', endpoint='{quic}', config=json_object('pin_sha256', '{pin}')"),
        format!("strategy='unix', endpoint='{unix}', config='{{}}'"),
        format!("strategy='http', endpoint='http://{http}/billing', config='{{}}'"),
    ];
    let line = |set| {
        format!(
            "  sqlite3 shop-routes.db \"UPDATE routes SET {set} WHERE service_name='billing'\"\n"
        )
    };
    moves.map(line).concat()
}

/// Waits for Ctrl-C, or for SIGTERM, with which service managers end a process.
async fn asked_to_end() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // For development: only the pin in a row vouches for this certificate, and each start generates
    // a new one.
    let tls = Tls::self_signed(["localhost"])?;
    let pin = tls.pin_sha256();
    let server = serve(&Arguments::parse(), tls).await?;
    println!("process {} serves billing", std::process::id());
    for wire in ["http", "quic", "unix"] {
        println!("  {wire} {}", server.address(wire).unwrap_or_default());
    }
    println!(
        "  pin_sha256 {pin}\n\nMove a client, while it runs:\n\n{}",
        statements(&server, &pin)
    );

    asked_to_end().await?;
    server.shutdown(Duration::from_secs(10)).await;
    println!("calls in flight have ended");
    Ok(())
}
