//! The services of the benches of local calls, and how they are called.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use connectivity_core::{Error, MemoryRoutes, Router, register, service};

#[service(dyn = DynPrices)]
pub trait Prices {
    async fn quote(&self, sku: &str, pieces: u32) -> Result<i64, Error>;
}

/// The same contract under `#[async_trait]`.
#[service]
#[async_trait]
pub trait Rates: Send + Sync {
    async fn rate(&self, sku: &str, pieces: u32) -> Result<i64, Error>;
}

pub struct Shop;

#[async_trait]
impl Rates for Shop {
    async fn rate(&self, sku: &str, pieces: u32) -> Result<i64, Error> {
        Ok(sku.len() as i64 * i64::from(pieces))
    }
}

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

/// Returns an implementation of [`Rates`], and a client of it, as a consumer holds them.
pub fn rates() -> (Arc<dyn Rates>, Arc<dyn Rates>) {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    register!(router, Rates => Shop).unwrap();
    (black_box(Arc::new(Shop)), black_box(Arc::new(RatesClient::new(&router))))
}
