//! How do I run code around every call? With tower layers, for all calls of a router or for those
//! of one service.
//!
//! ```text
//! cargo run --example layers
//! ```
//!
//! With a layer, a call is passed as a `Call`. It no longer takes the fast path, on which a local
//! call is a plain function call.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use connectivity_core::{Call, CallService, MemoryRoutes, Router, register};
use shop_contracts::{Billing, BillingClient, BillingError, Receipt};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, service_fn};

/// A complete layer: it counts calls.
#[derive(Clone, Debug, Default)]
struct Count(Arc<AtomicUsize>);

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, count: Arc::clone(&self.0) }
    }
}

/// A service that counts its calls.
#[derive(Clone, Debug)]
struct Counted<S> {
    inner: S,
    count: Arc<AtomicUsize>,
}

impl<S: Service<Call>> Service<Call> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> S::Future {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.inner.call(call)
    }
}

/// A short layer: it prints the name of a call, its outcome and its duration, but never its
/// payload.
fn log() -> impl Layer<CallService, Service = CallService> + Send + Sync {
    tower::layer::layer_fn(|inner: CallService| {
        CallService::new(service_fn(move |call: Call| {
            let inner = inner.clone();
            async move {
                let (name, start) = (call.name().to_owned(), Instant::now());
                let reply = inner.send(call).await;
                let outcome = match &reply {
                    Ok(reply) if reply.is_app_error() => "an error of the contract".to_owned(),
                    Ok(_) => "a value".to_owned(),
                    Err(error) => format!("no answer: {}", error.kind()),
                };
                println!("{name}: {outcome} after {:?}", start.elapsed());
                reply
            }
        }))
    })
}

/// Tracks how many calls run at once.
#[derive(Debug, Default)]
struct CashDesk {
    busy: AtomicUsize,
    busiest: Arc<AtomicUsize>,
}

impl Billing for CashDesk {
    async fn quote(&self, cents: u64) -> Result<u64, BillingError> {
        Ok(cents)
    }

    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError> {
        self.busiest.fetch_max(self.busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.busy.fetch_sub(1, Ordering::SeqCst);
        Ok(Receipt { order: order.to_owned(), cents, served_by: std::process::id() })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (count, desk) = (Count::default(), CashDesk::default());
    let (counted, busiest) = (Arc::clone(&count.0), Arc::clone(&desk.busiest));
    let router = Router::builder()
        .source(MemoryRoutes::new())
        // The first layer is the outermost.
        .layer(count)
        .layer(log())
        // A layer of tower's for the calls of one service: calls over the limit wait for their
        // turn.
        .layer_for("billing", ConcurrencyLimitLayer::new(2))
        .build()?;
    register!(router, Billing => desk)?;
    let billing = BillingClient::new(&router);

    let mut orders = tokio::task::JoinSet::new();
    for order in 0..8 {
        let billing = billing.clone();
        orders.spawn(async move { billing.charge(&format!("order-{order}"), 100).await });
    }
    while let Some(receipt) = orders.join_next().await {
        receipt??;
    }
    println!(
        "{} calls, {} at once",
        counted.load(Ordering::Relaxed),
        busiest.load(Ordering::SeqCst)
    );
    assert_eq!((counted.load(Ordering::Relaxed), busiest.load(Ordering::SeqCst)), (8, 2));
    Ok(())
}

#[test]
fn runs_to_its_end() -> Result<(), Box<dyn Error>> {
    main()
}
