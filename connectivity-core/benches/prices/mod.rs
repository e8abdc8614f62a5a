//! The service of the benches of local calls, and how they call it.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use connectivity_core::{Error, MemoryRoutes, Router, register, service};

#[service]
pub trait Prices {
    async fn quote(&self, sku: &str, pieces: u32) -> Result<i64, Error>;
}

pub struct Shop;

impl Prices for Shop {
    async fn quote(&self, sku: &str, pieces: u32) -> Result<i64, Error> {
        Ok(sku.len() as i64 * i64::from(pieces))
    }
}

/// Polls a future once and returns its output. Panics if it is pending.
pub fn poll_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future was not ready"),
    }
}

/// The same implementation behind an `Arc<dyn ..>`.
pub fn direct() -> Arc<dyn DynPrices> {
    black_box(Arc::new(Shop))
}

/// Returns a client of a local implementation, and its router for adding layers.
pub fn local(config: &str) -> (Router, PricesClient) {
    let routes = MemoryRoutes::new();
    routes.set("prices", "local", None, config);
    let router = Router::builder().source(routes).build().unwrap();
    register!(router, Prices => Shop).unwrap();
    let client = PricesClient::new(&router);
    (router, client)
}
