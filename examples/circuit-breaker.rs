//! What happens while a server is down? With a circuit breaker in its row, a few calls fail, the
//! rest are refused at once, and a probe detects when the server is back.
//!
//! ```text
//! cargo run --example circuit-breaker
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use connectivity_core::{BreakerState, ErrorKind, MemoryRoutes, Router, Server, register};
use shop_contracts::{Billing, BillingClient, BillingError, Receipt};

struct Stripe;

impl Billing for Stripe {
    async fn quote(&self, cents: u64) -> Result<u64, BillingError> {
        Ok(cents)
    }

    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError> {
        Ok(Receipt { order: order.to_owned(), cents, served_by: std::process::id() })
    }
}

/// Places an order, and prints the outcome and the state of the circuit.
async fn buy(router: &Router, billing: &BillingClient, order: &str) -> Result<(), Box<dyn Error>> {
    let outcome = match billing.charge(order, 100).await {
        Ok(receipt) => format!("paid {} cents", receipt.cents),
        Err(BillingError::Connectivity(error)) if error.kind() == ErrorKind::Connect => {
            "nobody is there".to_owned()
        }
        Err(BillingError::Connectivity(error)) if error.kind() == ErrorKind::CircuitOpen => {
            "refused unsent".to_owned()
        }
        Err(error) => return Err(error.into()),
    };
    let circuit = match circuit(router) {
        Some(BreakerState::Closed { failures }) => format!("closed, {failures} failures in a row"),
        Some(BreakerState::Open { .. }) => "open".to_owned(),
        Some(BreakerState::HalfOpen { successes }) => format!("half open, {successes} good probes"),
        _ => "none".to_owned(),
    };
    println!("{order}: {outcome}; the circuit is {circuit}");
    Ok(())
}

fn circuit(router: &Router) -> Option<BreakerState> {
    router.inspect().route("billing")?.breaker.clone()
}

fn sql(routes: &Path, sql: &str, value: &str) -> Result<(), Box<dyn Error>> {
    let changed = rusqlite::Connection::open(routes)?.execute(sql, [value])?;
    (changed == 1).then_some(()).ok_or_else(|| format!("{changed} rows were changed").into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (routes, socket) = (folder.path().join("routes.db"), folder.path().join("billing.sock"));
    let socket = socket.display().to_string();
    let router = Router::open_or_create(&routes).await?;
    let billing = BillingClient::new(&router);
    let row = r#"INSERT INTO routes(service_name, strategy, endpoint, config) VALUES('billing', 'unix', ?1,
                 '{"breaker_failures":3,"breaker_reset_ms":60000,"breaker_probes":2}')"#;
    sql(&routes, row, &socket)?;
    router.reload().await?;

    // No server listens yet. The fourth call is not even attempted.
    for order in ["order-1", "order-2", "order-3", "order-4"] {
        buy(&router, &billing, order).await?;
    }

    println!("the far end starts");
    let server_router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(server_router, Billing => Stripe)?;
    let server = Server::builder(&server_router).expose(["billing"]).unix(socket).start().await?;
    buy(&router, &billing, "order-5").await?;

    // A shorter reset time in the row avoids waiting for the rest of the minute. The circuit stays
    // open across the change.
    println!("the row says 10 ms");
    let sooner = "UPDATE routes SET config = json_set(config, '$.breaker_reset_ms', 10) WHERE service_name = ?1";
    sql(&routes, sooner, "billing")?;
    router.reload().await?;
    while matches!(circuit(&router), Some(BreakerState::Open { .. })) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for order in ["order-6", "order-7", "order-8"] {
        buy(&router, &billing, order).await?;
    }
    server.shutdown(Duration::from_secs(1)).await;
    router.close(Duration::from_secs(1)).await;
    Ok(())
}
