//! How do two programs share a service? This one calls the contract of the crate `shop-contracts`, and has no implementation.
//!
//! ```text
//! cargo run --example split-server -- --listen 127.0.0.1:8080
//! cargo run --example split-client -- --server 127.0.0.1:8080 --routes /tmp/shop-routes.db
//! ```
//!
//! The routes file stays, so you can change its row and run the client again.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use connectivity_core::{HttpTransport, RouteState, Router};
use shop_contracts::{Billing, BillingClient, BillingError, Receipt};

/// Calls billing wherever its row says it is.
#[derive(Debug, Parser)]
struct Arguments {
    /// The routes file; it is made if it is not there.
    #[arg(long, default_value = "shop-routes.db")]
    routes: PathBuf,
    /// Where `split-server` listens: written into the row for billing, if there is none yet.
    #[arg(long, default_value = "127.0.0.1:8080")]
    server: String,
}

/// Takes a client, an implementation or a fake: it does not know which.
async fn buy(billing: &impl Billing, order: &str, cents: u64) -> Result<Receipt, BillingError> {
    let with_tax = billing.quote(cents).await?;
    billing.charge(order, with_tax).await
}

/// Says where billing is, as an operator would with the sqlite3 shell.
fn add_row(routes: &Path, server: &str) -> rusqlite::Result<usize> {
    let sql =
        "INSERT INTO routes(service_name, strategy, endpoint) VALUES ('billing', 'http', ?1) ON CONFLICT DO NOTHING";
    rusqlite::Connection::open(routes)?.execute(sql, [format!("http://{server}/billing")])
}

/// Opens the routes file and gives the row for billing its first value.
async fn open(routes: &Path, server: &str) -> Result<Router, Box<dyn Error>> {
    let http = HttpTransport::new().allow_internal(); // rows may point at this machine and its network
    let router = Router::builder().transport("http", http).open_or_create(routes).await?;
    add_row(routes, server)?;
    router.reload().await?;
    Ok(router)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { routes, server } = Arguments::parse();
    let router = open(&routes, &server).await?;
    let billing = BillingClient::new(&router).with_timeout(Duration::from_secs(5));
    match buy(&billing, "order-17", 4_200).await {
        Ok(receipt) => println!("process {} sold, process {} took the money", std::process::id(), receipt.served_by),
        Err(BillingError::Connectivity(error)) => {
            println!("{}", advice(&router));
            return Err(error.into());
        }
        Err(error) => println!("the service says: {error}"),
    }
    Ok(())
}

/// Says what became of the row.
fn advice(router: &Router) -> String {
    match router.inspect().route("billing") {
        Some(route) if route.state == RouteState::InForce => {
            let place = route.endpoint.as_deref().or(route.strategy.as_deref()).unwrap_or_default();
            format!("billing is routed to {place}: is split-server running there?")
        }
        Some(route) => format!("the row is not in force: {:?}", route.state),
        None => "there is no row for billing".to_owned(),
    }
}
