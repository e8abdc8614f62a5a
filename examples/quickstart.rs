//! What does a service look like, and how does it move?
//!
//! ```text
//! cargo run --example quickstart
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use connectivity_core::{HttpTransport, MemoryRoutes, Router, Server, register, service};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Receipt {
    order: String,
    cents: u64,
    desk: String,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum BillingError {
    #[error("card declined")]
    Declined,
    /// Every call can fail once its service has moved.
    #[error(transparent)]
    Connectivity(#[from] connectivity_core::Error),
}

#[service] // the service is called `billing`
trait Billing {
    /// Charges an order.
    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError>;
}

/// A plain implementation, independent of the framework.
struct Stripe {
    desk: &'static str,
}

impl Billing for Stripe {
    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError> {
        if cents > 1_000_000 {
            return Err(BillingError::Declined);
        }
        Ok(Receipt { order: order.to_owned(), cents, desk: self.desk.to_owned() })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let routes = folder.path().join("routes.db");

    // A program that contains the service. Registering adds a row `billing, local` to the file.
    let http = HttpTransport::new().allow_internal(); // rows may point at this machine and its network
    let router = Router::builder().transport("http", http).open_or_create(&routes).await?;
    register!(router, Billing => Stripe { desk: "here" })?;
    let billing = BillingClient::new(&router);

    let receipt = billing.charge("order-17", 4_200).await?;
    println!("{} was paid {}", receipt.order, receipt.desk);
    assert_eq!(receipt.desk, "here");

    // Another program that serves it. Here it is the same program with a second router; see
    // split-server.rs for two processes.
    let server_router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(server_router, Billing => Stripe { desk: "elsewhere" })?;
    let server =
        Server::builder(&server_router).expose(["billing"]).http("127.0.0.1:0").start().await?;
    let address = server.address("http").ok_or("the server listens on http")?;

    // One statement, from any program that can write the file.
    let sql = "UPDATE routes SET strategy = 'http', endpoint = ?1 WHERE service_name = 'billing'";
    rusqlite::Connection::open(&routes)?.execute(sql, [format!("http://{address}/billing")])?;
    // Waits until the change is in force. The router notices it by itself too, within a millisecond
    // or so.
    router.reload().await?;

    let receipt = billing.charge("order-18", 4_200).await?;
    println!("{} was paid {}", receipt.order, receipt.desk);
    assert_eq!(receipt.desk, "elsewhere");

    // A reply of the service is the same wherever it runs.
    match billing.charge("order-19", 9_999_999).await {
        Err(error @ BillingError::Declined) => println!("order-19: {error}"),
        other => return Err(format!("order-19: {other:?}").into()),
    }

    // And back.
    let sql = "UPDATE routes SET strategy = 'local' WHERE service_name = 'billing'";
    rusqlite::Connection::open(&routes)?.execute(sql, [])?;
    router.reload().await?;
    let receipt = billing.charge("order-20", 4_200).await?;
    println!("{} was paid {}", receipt.order, receipt.desk);
    assert_eq!(receipt.desk, "here");

    server.shutdown(Duration::from_secs(1)).await;
    router.close(Duration::from_secs(1)).await;
    Ok(())
}
