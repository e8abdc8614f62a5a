//! How do two programs share a service? This one calls the contract of the crate `shop-contracts`
//! and has no implementation.
//!
//! ```text
//! cargo run --release --example split-server
//! cargo run --release --example split-client -- --orders 100
//! ```
//!
//! While it buys, change its row with one of the statements that `split-server` prints: the next
//! call goes there. The routes file and its row persist.
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
    /// How often to buy.
    #[arg(long, default_value_t = 1)]
    orders: u32,
    /// The pause between two orders, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    every: u64,
}

/// Accepts a client, an implementation or a fake, without distinguishing them.
async fn buy(billing: &impl Billing, order: &str, cents: u64) -> Result<Receipt, BillingError> {
    let with_tax = billing.quote(cents).await?;
    billing.charge(order, with_tax).await
}

/// Adds a row that says where billing is, as an operator would with the sqlite3 shell.
fn add_row(routes: &Path, server: &str) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO routes(service_name, strategy, endpoint) VALUES ('billing', 'http', ?1) ON CONFLICT DO NOTHING";
    rusqlite::Connection::open(routes)?.execute(sql, [format!("http://{server}/billing")])
}

/// Opens the routes file and adds a row for billing if there is none.
async fn open(routes: &Path, server: &str) -> Result<Router, Box<dyn Error>> {
    let http = HttpTransport::new().allow_internal(); // rows may point at this machine and its network
    let router = Router::builder().transport("http", http).open_or_create(routes).await?;
    add_row(routes, server)?;
    router.reload().await?;
    Ok(router)
}

/// Buys once, and prints which process took the payment and by which strategy it was reached.
async fn order(
    router: &Router,
    billing: &BillingClient,
    number: u32,
) -> Result<(), Box<dyn Error>> {
    let order = format!("order-{number}");
    match buy(billing, &order, 4_200).await {
        Ok(Receipt { served_by, .. }) => {
            let inspection = router.inspect();
            let strategy = inspection
                .route("billing")
                .and_then(|route| route.strategy.as_deref())
                .unwrap_or("no row");
            println!("{order}: process {served_by} took the money, by {strategy}");
        }
        Err(BillingError::Connectivity(error)) => {
            println!("{order}: {}", describe_row(router));
            return Err(error.into());
        }
        Err(error) => println!("{order}: the service says: {error}"),
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { routes, server, orders, every } = Arguments::parse();
    let router = open(&routes, &server).await?;
    let billing = BillingClient::new(&router).with_timeout(Duration::from_secs(5));
    println!("process {} buys", std::process::id());
    for number in 1..=orders {
        order(&router, &billing, number).await?;
        if number < orders {
            tokio::time::sleep(Duration::from_millis(every)).await;
        }
    }
    Ok(())
}

/// Describes the state of the row.
fn describe_row(router: &Router) -> String {
    match router.inspect().route("billing") {
        Some(route) if route.state == RouteState::InForce => {
            let destination =
                route.endpoint.as_deref().or(route.strategy.as_deref()).unwrap_or_default();
            format!("billing is routed to {destination}: is split-server running there?")
        }
        Some(route) => format!("the row is not in force: {:?}", route.state),
        None => "there is no row for billing".to_owned(),
    }
}
