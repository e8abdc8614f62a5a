//! Cost of policies for a local call, and the load they put on a server that fails.
//!
//! Run with `cargo bench -p connectivity-core --bench policies`. The cost is measured in
//! alternating rounds with a direct call of an `Arc<dyn ..>`, with futures that are ready at once
//! and a metrics recorder that only sums. The storms take about 15 seconds: calls at a steady rate
//! to an unreachable server, with up to three retries, and the number of attempts.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a program of its own that uses a part of the module"
)]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and may panic")]

mod prices;
#[path = "wire/table.rs"]
mod table;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use connectivity_core::layer::{
    BreakerLayer, ObserveLayer, RecoveryLayer, RetryLayer, TimeoutLayer,
};
use connectivity_core::{
    BuildContext, CallService, CircuitBreaker, Error, ErrorKind, MemoryRoutes, Remote, Route,
    RouteError, Router, Server, Transport, register,
};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tower::ServiceBuilder;

use prices::{Prices, PricesClient, direct, local, poll_once};
use table::Target::{AtMost, None};

/// The cheapest recorder that still counts.
struct Sums;

#[derive(Default)]
struct Sum(AtomicU64);

impl HistogramFn for Sum {
    fn record(&self, value: f64) {
        self.0.fetch_add((value * 1e9) as u64, Ordering::Relaxed);
    }
}

impl Recorder for Sums {
    fn describe_counter(&self, _name: KeyName, _unit: Option<Unit>, _text: SharedString) {}
    fn describe_gauge(&self, _name: KeyName, _unit: Option<Unit>, _text: SharedString) {}
    fn describe_histogram(&self, _name: KeyName, _unit: Option<Unit>, _text: SharedString) {}
    fn register_counter(&self, _key: &Key, _metadata: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(AtomicU64::new(0)))
    }
    fn register_gauge(&self, _key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Sum::default()))
    }
}

fn with_all_policies() -> PricesClient {
    let (router, client) = local("{}");
    router.layer(
        ServiceBuilder::new()
            .layer(ObserveLayer::new())
            .layer(RecoveryLayer::new())
            .layer(TimeoutLayer::new(Duration::from_secs(10)))
            .layer(RetryLayer::new(2))
            .layer(BreakerLayer::new(CircuitBreaker::default())),
    );
    client
}

/// Measures the nanoseconds per call over many calls.
fn time(prices: &impl Fn() -> Result<i64, Error>) -> f64 {
    const CALLS: u32 = 100_000;
    let start = Instant::now();
    for _ in 0..CALLS {
        black_box(prices()).unwrap();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn cost(label: &str, client: &PricesClient, target: table::Target) {
    let shop = direct();
    let direct = || poll_once(shop.quote(black_box("sku-17"), black_box(3)));
    let ours = || poll_once(client.quote(black_box("sku-17"), black_box(3)));
    let rounds: Vec<_> = (0..31).map(|_| (time(&ours), time(&direct))).collect();
    table::row(label, "ns", &rounds, target);
}

/// A transport whose server is unreachable. Counts the attempts.
#[derive(Clone, Default)]
struct Nobody(Arc<AtomicUsize>);

impl Transport for Nobody {
    fn build(&self, _route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let attempts = Arc::clone(&self.0);
        Ok(Remote::new(CallService::from_fn(move |call| {
            attempts.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Err(call.failed(ErrorKind::Connect, "nobody is there")))
        })))
    }
}

const RETRIES: &str = r#"{"retry_max":3,"retry_backoff_ms":20}"#;

/// Returns a router whose `prices` go to the unreachable server, with retries.
fn unreachable(nobody: &Nobody) -> Router {
    let routes = MemoryRoutes::new();
    routes.set("prices", "nobody", Some("anywhere"), RETRIES);
    Router::builder().source(routes).transport("nobody", nobody.clone()).build().unwrap()
}

/// Calls at a steady rate. Returns the number of calls.
async fn storm(client: &PricesClient, per_second: u32, lasts: Duration) -> usize {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
    let (end, mut calls) = (Instant::now() + lasts, Vec::new());
    while Instant::now() < end {
        tick.tick().await;
        let client = client.clone();
        calls.push(tokio::spawn(async move { client.quote("sku-17", 3).await.unwrap_err() }));
    }
    let count = calls.len();
    for call in calls {
        let error = call.await.unwrap();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    }
    count
}

async fn one_route() {
    const LASTS: Duration = Duration::from_secs(10);
    let nobody = Nobody::default();
    let client = PricesClient::new(&unreachable(&nobody));
    let calls = storm(&client, 1000, LASTS).await as f64;
    let attempts = nobody.0.load(Ordering::Relaxed) as f64;
    table::plain("storm, 1,000 calls/s for 10 s: attempts per call", "", &[attempts / calls], None);
    let excess = (attempts - 1.2 * calls) / LASTS.as_secs_f64();
    table::plain("the same: attempts beside 1.2 per call, a second", "", &[excess], AtMost(10.0));
}

/// Forwards every call, like a service in the middle of a chain.
struct Relay(PricesClient);

impl Prices for Relay {
    async fn quote(&self, sku: &str, pieces: u32) -> Result<i64, Error> {
        self.0.quote(sku, pieces).await
    }
}

/// Puts a server and a router in front of a router. Calls reach it over a Unix socket, with
/// retries.
async fn put_in_front(router: &Router, dir: &std::path::Path, name: &str) -> (Server, Router) {
    let relay = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    register!(relay, Prices => Relay(PricesClient::new(router))).unwrap();
    let socket = dir.join(name).display().to_string();
    let server = Server::builder(&relay).expose_all().unix(&socket).start().await.unwrap();
    let routes = MemoryRoutes::new();
    routes.set("prices", "unix", Some(&socket), RETRIES);
    (server, Router::builder().source(routes).build().unwrap())
}

async fn three_routers() {
    let (nobody, dir) = (Nobody::default(), tempfile::tempdir().unwrap());
    let last = unreachable(&nobody);
    let (_second_server, second) = put_in_front(&last, dir.path(), "second").await;
    let (_first_server, first) = put_in_front(&second, dir.path(), "first").await;
    let calls = storm(&PricesClient::new(&first), 500, Duration::from_secs(3)).await as f64;
    let attempts = nobody.0.load(Ordering::Relaxed) as f64;
    table::plain(
        "three routers in a chain: attempts per call at the last",
        "",
        &[attempts / calls],
        AtMost(1.5),
    );
}

fn main() {
    metrics::set_global_recorder(Sums).unwrap();
    table::head();
    cost("local call, no policy", &local("{}").1, AtMost(1.5));
    cost("local call, a limit on its row", &local(r#"{"concurrency":64}"#).1, None);
    cost(
        "local call: observe, recovery, timeout, retry, breaker",
        &with_all_policies(),
        AtMost(12.0),
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        one_route().await;
        three_routers().await;
    });
}
