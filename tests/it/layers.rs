//! Layers on real routers and servers: which route and method they see, and how they affect calls.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use connectivity_core::context;
use connectivity_core::layer::{
    ConcurrencyLayer, LoggingLayer, ObserveLayer, RecoveryLayer, TimeoutLayer,
};
use connectivity_core::{
    Call, CallService, Error, ErrorKind, Exposure, HttpTransport, MemoryRoutes, Reply, Router,
    Sent, Server, register,
};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tests::shop::*;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

/// Records the name, the route and the method of each call.
#[derive(Clone, Default)]
struct CallLog(Arc<Mutex<Vec<String>>>);

impl CallLog {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Layer<CallService> for CallLog {
    type Service = CallService;

    fn layer(&self, inner: CallService) -> CallService {
        let log = self.clone();
        CallService::from_fn(move |call| {
            let tag = call.route().map(|route| format!("{} {}", route.name(), route.strategy()));
            let method = call.method().map(|method| method.name());
            log.0.lock().unwrap().push(format!(
                "{}: {}, {}",
                call.name(),
                tag.unwrap_or_default(),
                method.unwrap_or("-")
            ));
            inner.send(call)
        })
    }
}

#[tokio::test]
async fn a_layer_is_told_by_which_row_a_call_goes() {
    let dir = tempfile::tempdir().unwrap();
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Billing => Shop::at("far")).unwrap();
    let path = dir.path().join("billing.sock").display().to_string();
    let server =
        Server::builder(&server_router).expose(["billing"]).unix(&path).start().await.unwrap();
    let (log, routes) = (CallLog::default(), MemoryRoutes::new());
    let client =
        Router::builder().source(routes.clone()).node("near").layer(log.clone()).build().unwrap();
    let billing = BillingClient::new(&client);
    register!(client, Billing => Shop::at("near")).unwrap();
    routes.remove("billing");
    client.reload().await.unwrap();
    billing.quote("17").await.unwrap();
    for (name, strategy, config) in [
        ("billing", "unix", "{}"),
        ("billing.quote", "local", "{}"),
        ("billing.quote", "noop", "{}"),
        ("billing.quote", "unix", r#"{"home":"near"}"#),
    ] {
        routes.set(name, strategy, Some(&path), config);
        client.reload().await.unwrap();
        billing.quote("17").await.unwrap();
    }
    billing.charge("17", 1).await.unwrap();
    assert_eq!(
        log.take(),
        [
            "billing.quote: billing local, quote",
            "billing.quote: billing unix, quote",
            "billing.quote: billing.quote local, quote",
            "billing.quote: billing.quote noop, quote",
            "billing.quote: billing.quote local, quote",
            "billing.charge: billing unix, charge",
        ]
    );
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_layer_of_calls_from_outside_is_told_what_is_called_if_it_is_exposed() {
    let (log, routes) = (CallLog::default(), MemoryRoutes::new());
    let router = router(&routes);
    register!(router, Billing => Shop::at("here")).unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    router.register_raw("hidden", async |bytes| Ok(bytes)).unwrap();
    // A row routes the calls of this process. It does not affect inbound calls.
    routes.set("billing", "unix", Some("/nowhere"), "{}");
    router.reload().await.unwrap();
    let inbound = router.inbound(Exposure::services(["billing", "echo"])).layer(&log);
    for name in ["billing.quote", "echo", "billing.made-up", "echo.made-up", "hidden", "made-up"] {
        let call = Call::encoded(
            name.parse().unwrap(),
            connectivity_core::Codec::Json,
            r#"{"order":"17"}"#,
        );
        assert_eq!(
            inbound.send(call).await.is_ok(),
            !name.contains("made") && name != "hidden",
            "{name}"
        );
    }
    assert_eq!(
        log.take(),
        [
            "billing.quote: billing local, quote",
            "echo: echo local, -",
            "billing.made-up: , -",
            "echo.made-up: , -",
            "hidden: , -",
            "made-up: , -",
        ]
    );
}

/// Records which metric series exist. Discards their values.
#[derive(Clone, Default)]
struct Series(Arc<Mutex<BTreeSet<String>>>);

impl Series {
    fn note(&self, key: &Key) {
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        self.0.lock().unwrap().insert(format!("{} {}", key.name(), labels.join(" ")));
    }

    fn of(&self, name: &str) -> Vec<String> {
        let all = self.0.lock().unwrap();
        all.iter()
            .filter_map(|series| series.strip_prefix(name))
            .map(|labels| labels.trim().to_owned())
            .collect()
    }
}

impl Recorder for Series {
    fn describe_counter(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}
    fn describe_gauge(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}
    fn describe_histogram(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }
    fn register_gauge(&self, _key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_stack_answers_ends_in_time_and_measures() {
    let series = Series::default();
    let _recorder = metrics::set_default_local_recorder(&series);
    let routes = MemoryRoutes::new();
    let stack = ServiceBuilder::new()
        .layer(LoggingLayer::new())
        .layer(ObserveLayer::new())
        .layer(RecoveryLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(ConcurrencyLayer::new(8));
    let router = Router::builder().source(routes.clone()).layer(stack).build().unwrap();
    register!(router, Billing => Shop::at("here")).unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let billing = BillingClient::new(&router);
    assert_eq!(billing.charge("17", 1).await.unwrap().served_by, "here");
    assert_eq!(billing.fail(Failure::Declined).await, Err(BillingError::Declined));
    assert_eq!(unwrap_error(billing.fail(Failure::Panic)).await.kind(), ErrorKind::Panicked);
    assert_eq!(unwrap_error(billing.sleep(1001)).await.kind(), ErrorKind::Timeout);
    assert_eq!(router.call("echo", "hello").await.unwrap(), "hello");
    let remaining = billing.seen().await.unwrap().remaining_ms;
    assert_eq!(remaining, Some(1000), "implementations see the deadline");
    assert_eq!(
        series.of("connectivity_call_duration_seconds"),
        [
            "service=billing method=charge strategy=local outcome=ok",
            "service=billing method=fail strategy=local outcome=app_error",
            "service=billing method=fail strategy=local outcome=panicked",
            "service=billing method=seen strategy=local outcome=ok",
            "service=billing method=sleep strategy=local outcome=timeout",
            "service=echo method= strategy=local outcome=ok",
        ]
    );
    assert_eq!(
        series.of("connectivity_call_failures_total"),
        [
            "service=billing method=fail strategy=local outcome=panicked",
            "service=billing method=sleep strategy=local outcome=timeout",
        ]
    );
}

async fn unwrap_error(call: impl Future<Output = Result<(), BillingError>>) -> Error {
    match call.await {
        Err(BillingError::Connectivity(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_for_one_service_counts_over_its_routes_and_binds_no_other() {
    let routes = MemoryRoutes::new();
    let router = router(&routes);
    register!(router, Billing => Shop::at("here")).unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    router.layer_for("billing", ConcurrencyLayer::new(2));
    let billing = BillingClient::new(&router);
    let slow = |ms| {
        let billing = billing.clone();
        tokio::spawn(async move { billing.sleep(ms).await })
    };
    let (one, other) = (slow(1000), slow(2000));
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The service is rebuilt meanwhile: for a new row, and for a new layer.
    routes.set("billing.sleep", "local", None, "{}");
    router.reload().await.unwrap();
    router.layer(RecoveryLayer::new());
    let refused = unwrap_error(billing.sleep(1)).await;
    assert_eq!((refused.kind(), refused.sent()), (ErrorKind::Overloaded, Sent::No));
    assert!(router.call("echo", "").await.is_ok());
    one.await.unwrap().unwrap();
    billing.quote("17").await.unwrap();
    other.await.unwrap().unwrap();
}

/// Panics instead of forwarding a call.
#[derive(Clone)]
struct Bomb;

impl Service<Call> for Bomb {
    type Response = Reply;
    type Error = Error;
    type Future = std::future::Ready<Result<Reply, Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _call: Call) -> Self::Future {
        panic!("secret text of a panic")
    }
}

#[tokio::test]
async fn a_panic_in_a_layer_of_a_server_is_one_callers_error() {
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Billing => Shop::at("far")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("billing.sock").display().to_string();
    let server = Server::builder(&server_router)
        .expose(["billing"])
        .layer(tower::layer::layer_fn(|_inner: CallService| Bomb))
        .layer(RecoveryLayer::new())
        .unix(&path)
        .start()
        .await
        .unwrap();
    let routes = MemoryRoutes::new();
    routes.set("billing", "unix", Some(&path), "{}");
    let client = router(&routes);
    for _ in 0..2 {
        let error = unwrap_error(BillingClient::new(&client).sleep(0)).await;
        assert_eq!((error.kind(), error.message()), (ErrorKind::Panicked, ""));
    }
    server.shutdown(Duration::ZERO).await;
}

/// Adds its mark to the metadata of each call that passes.
fn marks(mark: &'static str) -> impl Layer<CallService, Service = CallService> + Clone {
    tower::layer::layer_fn(move |inner: CallService| {
        CallService::from_fn(move |mut call: Call| {
            let context = call.context().clone();
            let so_far = context.meta("marks").unwrap_or_default().to_owned();
            *call.context_mut() = context.with_meta("marks", so_far + mark).unwrap();
            inner.clone().oneshot(call)
        })
    })
}

#[tokio::test]
async fn the_first_layer_added_is_the_outermost_of_a_router_and_of_a_server() {
    let server_router = router(&MemoryRoutes::new());
    server_router
        .register_raw("marks", async |_| {
            Ok(context::current().meta("marks").unwrap_or_default().to_owned().into())
        })
        .unwrap();
    let server = Server::builder(&server_router)
        .expose(["marks"])
        .layer(marks("c"))
        .layer(marks("d"))
        .http("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let routes = MemoryRoutes::new();
    let endpoint = format!("http://{}/marks", server.address("http").unwrap());
    routes.set("marks", "http", Some(&endpoint), "{}");
    let http = HttpTransport::new().allow_internal().forward_meta(["marks"]);
    let client = Router::builder()
        .transport("http", http)
        .source(routes)
        .layer(marks("a"))
        .layer(marks("b"))
        .build()
        .unwrap();
    assert_eq!(client.call("marks", "").await.unwrap(), "abcd");
}
