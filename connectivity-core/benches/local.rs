//! Cost of a typed local call, compared with a direct call of an `Arc<dyn ..>`.
//!
//! Run with `cargo bench -p connectivity-core --bench local`. The futures are ready at once and
//! polled once, so the figures contain no executor. The last line compares the two in alternating
//! rounds. The bench `allocations` counts allocations, because counting costs time.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

mod prices;

use std::hint::black_box;
use std::time::{Duration, Instant};

use connectivity_core::Error;
use connectivity_core::layer::{
    ConcurrencyLayer, LoggingLayer, ObserveLayer, RecoveryLayer, TimeoutLayer,
};
use divan::Bencher;
use tower::ServiceBuilder;
use tower_layer::layer_fn;

use prices::{Prices, direct, local, poll_once, rates};

#[divan::bench]
fn direct_dyn(bencher: Bencher<'_, '_>) {
    let shop = direct();
    bencher.bench_local(|| poll_once(shop.quote(black_box("sku-17"), black_box(3))));
}

#[divan::bench]
fn client_local(bencher: Bencher<'_, '_>) {
    let (_router, client) = local("{}");
    bencher.bench_local(|| poll_once(client.quote(black_box("sku-17"), black_box(3))));
}

#[divan::bench]
fn client_local_with_concurrency_limit(bencher: Bencher<'_, '_>) {
    let (_router, client) = local(r#"{"concurrency":64}"#);
    bencher.bench_local(|| poll_once(client.quote(black_box("sku-17"), black_box(3))));
}

#[divan::bench]
fn client_local_with_layer(bencher: Bencher<'_, '_>) {
    let (router, client) = local("{}");
    router.layer(layer_fn(|inner| inner));
    bencher.bench_local(|| poll_once(client.quote(black_box("sku-17"), black_box(3))));
}

#[divan::bench]
fn client_local_with_all_layers(bencher: Bencher<'_, '_>) {
    let (router, client) = local("{}");
    router.layer(
        ServiceBuilder::new()
            .layer(LoggingLayer::new())
            .layer(ObserveLayer::new())
            .layer(RecoveryLayer::new())
            .layer(TimeoutLayer::new(Duration::from_secs(10)))
            .layer(ConcurrencyLayer::new(256)),
    );
    bencher.bench_local(|| poll_once(client.quote(black_box("sku-17"), black_box(3))));
}

/// Measures the nanoseconds per call over many calls.
fn time(call: &impl Fn() -> Result<i64, Error>) -> f64 {
    const CALLS: u32 = 200_000;
    let start = Instant::now();
    for _ in 0..CALLS {
        black_box(call()).unwrap();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Compares two calls in alternating rounds.
fn compare(
    label: &str,
    direct: impl Fn() -> Result<i64, Error>,
    local: impl Fn() -> Result<i64, Error>,
) {
    let rounds: Vec<_> = (0..31).map(|_| (time(&direct), time(&local))).collect();
    let ratio = median(rounds.iter().map(|(direct, local)| local / direct).collect());
    let (direct, local) = (
        median(rounds.iter().map(|r| r.0).collect()),
        median(rounds.iter().map(|r| r.1).collect()),
    );
    println!("{label}: {ratio:.2} (median of 31 rounds in turns; {local:?} / {direct:?})");
}

fn main() {
    divan::main();
    println!();
    let (shop, (_router, client)) = (direct(), local("{}"));
    compare(
        "local call / direct Arc<dyn> call",
        || poll_once(shop.quote(black_box("sku-17"), black_box(3))),
        || poll_once(client.quote(black_box("sku-17"), black_box(3))),
    );
    let (shop, client) = rates();
    compare(
        "the same under #[async_trait], the client in an Arc<dyn> too",
        || poll_once(shop.rate(black_box("sku-17"), black_box(3))),
        || poll_once(client.rate(black_box("sku-17"), black_box(3))),
    );
}
