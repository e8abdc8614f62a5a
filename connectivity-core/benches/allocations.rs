//! Allocations of a typed local call, compared with a direct call of an `Arc<dyn ..>`.
//!
//! Run with `cargo bench -p connectivity-core --bench allocations`. Read the `alloc` rows; the
//! times include the cost of counting.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a benchmark may panic")]

mod prices;

use std::hint::black_box;

use divan::{AllocProfiler, Bencher};
use tower_layer::layer_fn;

use prices::{Prices, direct, local, poll_once, rates};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

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
fn client_local_with_layer(bencher: Bencher<'_, '_>) {
    let (router, client) = local("{}");
    router.layer(layer_fn(|inner| inner));
    bencher.bench_local(|| poll_once(client.quote(black_box("sku-17"), black_box(3))));
}

#[divan::bench]
fn async_trait_direct(bencher: Bencher<'_, '_>) {
    let (shop, _client) = rates();
    bencher.bench_local(|| poll_once(shop.rate(black_box("sku-17"), black_box(3))));
}

#[divan::bench]
fn async_trait_client(bencher: Bencher<'_, '_>) {
    let (_shop, client) = rates();
    bencher.bench_local(|| poll_once(client.rate(black_box("sku-17"), black_box(3))));
}

fn main() {
    divan::main();
}
