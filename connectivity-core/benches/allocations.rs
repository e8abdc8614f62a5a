//! Allocations of a typed local call, compared with a direct call of an `Arc<dyn ..>`.
//!
//! Run with `cargo bench -p connectivity-core --bench allocations`. Read the `alloc` rows; the
//! times include the cost of counting.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark may panic")]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use connectivity_core::{Error, MemoryRoutes, Router, register, service};
use divan::{AllocProfiler, Bencher};
use tower_layer::layer_fn;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

#[service]
pub trait Prices {
    async fn quote(&self, sku: &str, pieces: u32) -> Result<i64, Error>;
}

struct Shop;

impl Prices for Shop {
    async fn quote(&self, sku: &str, pieces: u32) -> Result<i64, Error> {
        Ok(sku.len() as i64 * i64::from(pieces))
    }
}

/// Polls a future once and returns its output. Panics if it is pending.
fn poll_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future was not ready"),
    }
}

#[divan::bench]
fn direct_dyn(bencher: Bencher<'_, '_>) {
    let shop: Arc<dyn DynPrices> = black_box(Arc::new(Shop));
    bencher.bench_local(|| poll_once(shop.quote(black_box("sku-17"), black_box(3))));
}

#[divan::bench]
fn client_local(bencher: Bencher<'_, '_>) {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    register!(router, Prices => Shop).unwrap();
    let client = PricesClient::new(&router);
    bencher.bench_local(|| poll_once(client.quote(black_box("sku-17"), black_box(3))));
}

#[divan::bench]
fn client_local_with_layer(bencher: Bencher<'_, '_>) {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    register!(router, Prices => Shop).unwrap();
    router.layer(layer_fn(|inner| inner));
    let client = PricesClient::new(&router);
    bencher.bench_local(|| poll_once(client.quote(black_box("sku-17"), black_box(3))));
}

fn main() {
    divan::main();
}
