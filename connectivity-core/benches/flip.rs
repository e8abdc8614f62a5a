//! Latency of a route change: from the return of COMMIT to the first call on the new route.
//!
//! Run with `cargo bench -p connectivity-core --bench flip`. The routes are in a real file. The
//! commits come from a separate connection, 10 ms apart, like those of an operator's shell.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

use std::thread;
use std::time::{Duration, Instant};

use connectivity_core::{Error, Router, register, service};

#[service]
pub trait Prices {
    #[noop = -1]
    async fn quote(&self, sku: &str) -> Result<i64, Error>;
}

struct Shop;

impl Prices for Shop {
    async fn quote(&self, sku: &str) -> Result<i64, Error> {
        Ok(sku.len() as i64)
    }
}

const FLIPS: usize = 500;

/// Flips one row. Returns the time of COMMIT, and the time from its return to the first call on the
/// new route.
async fn flip(
    shell: &rusqlite::Connection,
    prices: &PricesClient,
    strategy: &str,
) -> (Duration, Duration) {
    let start = Instant::now();
    shell
        .execute("UPDATE routes SET strategy = ?1 WHERE service_name = 'prices'", [strategy])
        .unwrap();
    let committed = Instant::now();
    let expected = if strategy == "noop" { -1 } else { 6 };
    while prices.quote("sku-17").await.unwrap() != expected {
        thread::yield_now();
    }
    (committed - start, committed.elapsed())
}

fn print(label: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{label:<44} p50 {:>9.1?}  p99 {:>9.1?}  max {:>9.1?}", at(0.5), at(0.99), at(1.0));
}

async fn measure(rows: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.db");
    let router = Router::open_or_create(&path).await.unwrap();
    register!(router, Prices => Shop).unwrap();
    let prices = PricesClient::new(&router);
    let shell = rusqlite::Connection::open(&path).unwrap();
    for n in 0..rows {
        shell
            .execute(
                "INSERT INTO routes(service_name, strategy) VALUES(?1, 'noop')",
                [format!("other{n}")],
            )
            .unwrap();
    }
    let mut commits = Vec::with_capacity(FLIPS);
    let mut swaps = Vec::with_capacity(FLIPS);
    for n in 0..FLIPS {
        thread::sleep(Duration::from_millis(10));
        let (commit, swap) = flip(&shell, &prices, if n % 2 == 0 { "noop" } else { "local" }).await;
        commits.push(commit);
        swaps.push(swap);
    }
    println!("\n{FLIPS} flips of one row, {} rows in the table", rows + 1);
    print("COMMIT (synchronous = FULL)", commits);
    print("COMMIT returned -> first call on the new route", swaps);
}

#[tokio::main]
async fn main() {
    for rows in [0, 1000] {
        measure(rows).await;
    }
}
