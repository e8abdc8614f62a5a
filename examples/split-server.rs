//! How do two programs share a service? This one implements the contract of the crate `shop-contracts` and serves it.
//!
//! ```text
//! cargo run --example split-server -- --listen 127.0.0.1:8080
//! ```
//!
//! Then run `split-client.rs` in another terminal. Ctrl-C ends the server, calls in flight first.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use connectivity_core::{MemoryRoutes, Router, Server, register};
use shop_contracts::{Billing, BillingError, Receipt};

/// Serves billing to other programs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen: an address of this machine, because this example asks nobody who they are.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
}

/// Keeps the contract.
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

/// Serves until the server that this returns is shut down or dropped.
async fn serve(listen: &str) -> Result<Server, Box<dyn Error>> {
    // A server that calls nobody needs no routes file: what is registered is local.
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router, Billing => CashDesk)?;
    Ok(Server::builder(&router).expose(["billing"]).http(listen).start().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = serve(&Arguments::parse().listen).await?;
    let address = server.address("http").unwrap_or_default();
    println!("process {} serves billing on {address}", std::process::id());

    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
