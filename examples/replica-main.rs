//! How does a process publish a part of its database? This one has a shop with products and
//! customers, changes a price each second, and publishes the products and the cities of customers.
//!
//! Start `replica-edge` first; it prints the arguments.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use connectivity_core::dbsync::{Filter, Publisher};
use connectivity_core::{RouteConfig, RouteTls, Strategy};

/// Publishes a part of a shop's database.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the replica listens.
    #[arg(long, default_value = "127.0.0.1:4437")]
    edge: String,
    /// The pin of its certificate.
    #[arg(long)]
    pin: String,
    /// How many products the shop has.
    #[arg(long, default_value_t = 100_000)]
    products: u32,
    /// How many prices to change.
    #[arg(long, default_value_t = 10)]
    changes: u32,
    /// The pause between two changes, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    every: u64,
}

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, cents INT NOT NULL);
    CREATE INDEX by_price ON products (cents);
    CREATE TABLE customers (id INTEGER PRIMARY KEY, city TEXT, email TEXT NOT NULL);
    INSERT INTO customers VALUES (1, 'Bern', 'ada@example.org');
";
const FILL: &str = "
    WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?1)
    INSERT INTO products SELECT id, 'product ' || id, 1000 + id * 7919 % 90000 FROM n";

/// Returns the TLS settings that trust one certificate, as the config of a row would.
fn trust(pin: &str) -> Result<RouteTls, Box<dyn Error>> {
    let config = format!(r#"{{"pin_sha256":"{pin}"}}"#);
    Ok(RouteConfig::parse(&config, &Strategy::parse("dbsync")?)?.tls)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.db");
    let shop = rusqlite::Connection::open(&path)?;
    shop.execute_batch(SCHEMA)?;
    shop.execute(FILL, [arguments.products])?;

    let filter = Filter::new().table("products").columns("customers", ["city"]);
    let publisher = Publisher::builder(&path, filter)
        .target(&arguments.edge, trust(&arguments.pin)?)
        .start()
        .await?;
    for change in 1..=arguments.changes {
        tokio::time::sleep(Duration::from_millis(arguments.every)).await;
        shop.execute("UPDATE products SET cents = ?1 WHERE id = 1", [1000 - change])?;
        println!("product 1 costs {} cents", 1000 - change);
    }
    // The last change is on its way: its copy is made within a second.
    let mut delivered = None;
    loop {
        let status = publisher.status();
        let now = status.targets.first().and_then(|target| target.delivered);
        if now != delivered {
            println!("the edge has version {}", now.unwrap_or_default());
            delivered = now;
        }
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => return Ok(pressed?),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}
