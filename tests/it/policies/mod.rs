//! Retries, circuit breakers and fallbacks, as configured by rows.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connectivity_core::context::{self, Context};
use connectivity_core::{
    BreakerState, BuildContext, CallService, Error, ErrorKind, HttpTransport, MemoryRoutes, Remote,
    Route, RouteError, RouteInfo, RouteState, Router, Sent, Server, Transport, register,
};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use tests::shop::*;

mod chain;

/// Connects to its endpoint for each attempt and counts the attempts. Never replies, and ignores
/// deadlines.
#[derive(Clone, Default)]
struct Attempts {
    count: Arc<AtomicUsize>,
    builds: Arc<AtomicUsize>,
}

impl Attempts {
    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Transport for Attempts {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        self.builds.fetch_add(1, Ordering::SeqCst);
        let (count, endpoint) =
            (Arc::clone(&self.count), route.endpoint().unwrap_or_default().to_owned());
        Ok(Remote::new(CallService::from_fn(move |call| {
            count.fetch_add(1, Ordering::SeqCst);
            let connection = TcpStream::connect(endpoint.clone());
            async move {
                let _connection =
                    connection.await.map_err(|cause| call.failed(ErrorKind::Connect, cause))?;
                std::future::pending().await
            }
        })))
    }
}

/// Returns the address of a port without a listener. The port stays bound until the test program
/// ends: the system would give it to a listener of another test, or to a client that connects to it,
/// which is then connected to itself.
fn closed_port() -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address.to_string()
}

/// Returns a listener that accepts connections and never answers, and its address.
fn silent_port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

struct World {
    routes: MemoryRoutes,
    router: Router,
    billing: BillingClient,
    attempts: Attempts,
}

impl World {
    fn new() -> Self {
        let (routes, attempts) = (MemoryRoutes::new(), Attempts::default());
        let http = HttpTransport::new().allow_internal();
        let builder = Router::builder().source(routes.clone()).node("here");
        let router =
            builder.transport("count", attempts.clone()).transport("http", http).build().unwrap();
        let billing = BillingClient::new(&router);
        Self { routes, router, billing, attempts }
    }

    /// Adds a local implementation.
    fn with_shop() -> (Self, Shop) {
        let (world, shop) = (Self::new(), Shop::at("here"));
        register!(world.router, Billing => shop.clone()).unwrap();
        (world, shop)
    }

    async fn row(&self, strategy: &str, endpoint: &str, config: &str) {
        self.routes.set("billing", strategy, Some(endpoint), config);
        self.router.reload().await.unwrap();
    }

    fn route(&self) -> RouteInfo {
        self.router.inspect().route("billing").unwrap().clone()
    }

    async fn quote(&self) -> Result<u64, Error> {
        self.billing.quote("abc").await.map_err(connectivity)
    }

    async fn charge(&self) -> Result<String, Error> {
        self.billing.charge("17", 1).await.map(|receipt| receipt.served_by).map_err(connectivity)
    }
}

fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

async fn start_server(router: &Router, socket: &Path) -> Server {
    Server::builder(router)
        .expose(["billing"])
        .unix(socket.display().to_string())
        .start()
        .await
        .unwrap()
}

fn router_with_shop() -> (Router, Shop) {
    let (server_router, shop) = (router(&MemoryRoutes::new()), Shop::at("far"));
    register!(server_router, Billing => shop.clone()).unwrap();
    (server_router, shop)
}

/// Starts a server that reads a request and hangs up, so that nothing shows whether it ran.
async fn start_hanging_up_server() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/billing", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            if connection.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (endpoint, requests)
}

#[tokio::test]
async fn what_may_have_run_is_repeated_only_if_it_may_run_twice() {
    let world = World::new();
    let (endpoint, requests) = start_hanging_up_server().await;
    world.row("http", &endpoint, r#"{"retry_max":2,"retry_backoff_ms":1}"#).await;
    let error = world.charge().await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Closed, Sent::Maybe));
    assert_eq!(requests.swap(0, Ordering::SeqCst), 1, "charge is not idempotent");
    let error = world.quote().await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Closed, Sent::Maybe));
    assert_eq!(requests.load(Ordering::SeqCst), 3, "quote is");
}

#[tokio::test]
async fn what_was_not_sent_is_repeated_as_often_as_the_row_says_and_not_by_default() {
    let world = World::new();
    let port = closed_port();
    for (config, attempts) in
        [("{}", 1), (r#"{"retry_max":0}"#, 1), (r#"{"retry_max":5,"retry_backoff_ms":1}"#, 6)]
    {
        world.row("count", &port, config).await;
        assert_eq!(kind(world.charge().await), Some(ErrorKind::Connect));
        assert_eq!(world.attempts.count.swap(0, Ordering::SeqCst), attempts, "{config}");
    }
}

#[tokio::test]
async fn a_call_is_not_repeated_when_its_wait_would_pass_its_deadline() {
    let world = World::new();
    world.row("count", &closed_port(), r#"{"retry_max":5,"retry_backoff_ms":60000}"#).await;
    assert_eq!(
        kind(world.quote().await),
        Some(ErrorKind::Connect),
        "the row's 30 s are a deadline too"
    );
    let context = Context::new().with_timeout(Duration::from_secs(20));
    assert_eq!(kind(context::scope(context, world.quote()).await), Some(ErrorKind::Connect));
    assert_eq!(world.attempts.count(), 2);
}

#[tokio::test]
async fn the_contracts_error_and_a_panic_are_answers_that_nobody_repeats_or_replaces() {
    let (world, _here) = World::with_shop();
    let ((server_router, _shop), dir) = (router_with_shop(), tempfile::tempdir().unwrap());
    let _server = start_server(&server_router, &dir.path().join("billing")).await;
    let socket = dir.path().join("billing").display().to_string();
    world.row("unix", &socket, r#"{"retry_max":3,"breaker_failures":1,"fallback":"local"}"#).await;
    assert_eq!(world.billing.fail(Failure::Declined).await, Err(BillingError::Declined));
    let panicked = world.billing.fail(Failure::Panic).await.map_err(connectivity);
    assert_eq!(kind(panicked), Some(ErrorKind::Panicked));
    assert_eq!(world.charge().await, Ok("far".into()));
    assert_eq!(world.route().breaker, Some(BreakerState::Closed { failures: 0 }));
}

#[tokio::test]
async fn a_breaker_opens_while_the_far_end_is_down_and_closes_when_it_is_back() {
    let world = World::new();
    let ((server_router, _shop), dir) = (router_with_shop(), tempfile::tempdir().unwrap());
    let socket = dir.path().join("billing");
    let server = start_server(&server_router, &socket).await;
    let config = |reset| {
        format!(r#"{{"breaker_failures":3,"breaker_reset_ms":{reset},"breaker_probes":2}}"#)
    };
    world.row("unix", &socket.display().to_string(), &config(3_600_000)).await;
    assert_eq!(world.quote().await, Ok(3));
    server.shutdown(Duration::from_secs(5)).await;
    for failures in 1..=2 {
        assert_eq!(kind(world.quote().await), Some(ErrorKind::Connect));
        assert_eq!(world.route().breaker, Some(BreakerState::Closed { failures }));
    }
    assert_eq!(kind(world.quote().await), Some(ErrorKind::Connect));
    let refused = world.quote().await.unwrap_err();
    assert_eq!((refused.kind(), refused.sent()), (ErrorKind::CircuitOpen, Sent::No));
    let _server = start_server(&server_router, &socket).await;
    assert_eq!(kind(world.quote().await), Some(ErrorKind::CircuitOpen), "an hour has not passed");
    world.row("unix", &socket.display().to_string(), &config(1)).await;
    while matches!(world.route().breaker, Some(BreakerState::Open { .. })) {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.quote().await, Ok(3), "a probe");
    assert_eq!(world.route().breaker, Some(BreakerState::HalfOpen { successes: 1 }));
    assert_eq!(world.quote().await, Ok(3));
    assert_eq!(world.route().breaker, Some(BreakerState::Closed { failures: 0 }));
}

#[tokio::test]
async fn a_breaker_and_a_budget_outlive_an_edit_that_leaves_the_endpoint() {
    let world = World::new();
    let port = closed_port();
    let config = |ms| format!(r#"{{"breaker_failures":1,"timeout_ms":{ms}}}"#);
    world.row("count", &port, &config(100)).await;
    assert_eq!(kind(world.quote().await), Some(ErrorKind::Connect));
    world.row("count", &port, &config(200)).await;
    assert_eq!(world.attempts.builds.load(Ordering::SeqCst), 2, "it was built anew");
    assert_eq!(kind(world.quote().await), Some(ErrorKind::CircuitOpen));
    world.row("count", &port, r#"{"timeout_ms":"bad"}"#).await;
    assert_eq!(
        kind(world.quote().await),
        Some(ErrorKind::CircuitOpen),
        "a bad row changes nothing"
    );
    world.row("count", &closed_port(), &config(200)).await;
    assert_eq!(kind(world.quote().await), Some(ErrorKind::Connect), "another far end begins anew");

    let retries = |ms| format!(r#"{{"retry_max":5,"retry_backoff_ms":1,"timeout_ms":{ms}}}"#);
    world.row("count", &port, &retries(10_000)).await;
    for _ in 0..40 {
        assert_eq!(kind(world.quote().await), Some(ErrorKind::Connect));
    }
    world.row("count", &port, &retries(20_000)).await;
    let before = world.attempts.count();
    assert_eq!(kind(world.quote().await), Some(ErrorKind::Connect));
    assert_eq!(world.attempts.count() - before, 1, "the budget is still spent");
}

#[tokio::test]
async fn a_transport_that_ignores_the_time_limit_is_ended_by_it_and_that_is_a_failure() {
    let world = World::new();
    let (_listener, port) = silent_port();
    world.row("count", &port, r#"{"timeout_ms":50,"breaker_failures":2}"#).await;
    for _ in 0..2 {
        let error = world.quote().await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::Maybe));
    }
    assert_eq!(kind(world.quote().await), Some(ErrorKind::CircuitOpen));
}

#[tokio::test]
async fn calls_that_are_given_up_and_the_rows_own_limit_open_no_circuit() {
    let world = World::new();
    let (_listener, port) = silent_port();
    world.row("count", &port, r#"{"concurrency":1,"breaker_failures":1}"#).await;
    let mut held = Box::pin(world.quote());
    tokio::select! {
        biased;
        _ = &mut held => panic!("nobody answers"),
        () = tokio::task::yield_now() => {}
    }
    for _ in 0..5 {
        assert_eq!(kind(world.quote().await), Some(ErrorKind::Overloaded));
    }
    assert_eq!(world.route().last_error.unwrap().kind, ErrorKind::Overloaded);
    drop(held);
    assert_eq!(world.attempts.count(), 1);
    assert_eq!(world.route().breaker, Some(BreakerState::Closed { failures: 0 }));
}

#[tokio::test]
async fn the_local_implementation_steps_in_for_a_far_end_that_is_down() {
    let (world, here) = World::with_shop();
    world.row("count", &closed_port(), r#"{"fallback":"local","breaker_failures":1}"#).await;
    assert_eq!(world.charge().await, Ok("here".into()), "no connection");
    assert_eq!(world.charge().await, Ok("here".into()), "an open circuit");
    assert_eq!((world.attempts.count(), here.journal.orders.lock().unwrap().len()), (1, 2));
    assert_eq!(world.route().last_error.unwrap().kind, ErrorKind::CircuitOpen, "why it steps in");
}

#[tokio::test]
async fn a_time_limit_of_the_row_does_not_disable_its_fallback_and_the_callers_deadline_does() {
    let (world, here) = World::with_shop();
    let (_listener, port) = silent_port();
    world.row("count", &port, r#"{"fallback":"local","timeout_ms":50}"#).await;
    assert_eq!(world.quote().await, Ok(3));
    assert_eq!(kind(world.charge().await), Some(ErrorKind::Timeout), "it may have run there");
    let context = Context::new().with_timeout(Duration::from_millis(20));
    assert_eq!(kind(context::scope(context, world.quote()).await), Some(ErrorKind::Timeout));
    assert!(here.journal.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_fallback_steps_in_once_something_is_registered_and_inspect_says_so_before() {
    let world = World::new();
    world.row("count", &closed_port(), r#"{"fallback":"local"}"#).await;
    assert_eq!(world.route().state, RouteState::InForce);
    assert_eq!(
        world.route().warnings,
        ["config.fallback: nothing of this name is registered here"]
    );
    assert_eq!(kind(world.charge().await), Some(ErrorKind::Connect));
    register!(world.router, Billing => Shop::at("here")).unwrap();
    assert_eq!(world.charge().await, Ok("here".into()));
    assert!(world.route().warnings.is_empty());
    assert_eq!(world.attempts.builds.load(Ordering::SeqCst), 1, "the connection stays what it is");
}

#[tokio::test]
async fn a_raw_service_falls_back_too() {
    let world = World::new();
    world.routes.set("echo", "count", Some(&closed_port()), r#"{"fallback":"local"}"#);
    world.router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    world.router.reload().await.unwrap();
    assert_eq!(world.router.call("echo", "x").await.unwrap(), "x");
}

#[tokio::test]
async fn nothing_steps_in_when_the_router_is_closed() {
    let (world, here) = World::with_shop();
    let (_listener, port) = silent_port();
    world.row("count", &port, r#"{"fallback":"local"}"#).await;
    let call = tokio::spawn({
        let billing = world.billing.clone();
        async move { billing.rework("17", 0).await.map_err(connectivity) }
    });
    while world.attempts.count() == 0 {
        tokio::task::yield_now().await;
    }
    world.router.close(Duration::ZERO).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Closed, Sent::Maybe));
    assert!(here.journal.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn policies_are_parked_on_rows_that_are_served_here() {
    let (world, _here) = World::with_shop();
    let policies = r#""retry_max":3,"breaker_failures":1,"fallback":"local""#;
    for (strategy, config, served) in [
        ("local", format!("{{{policies}}}"), Some("here")),
        ("count", format!(r#"{{"home":"here",{policies}}}"#), Some("here")),
        ("noop", format!("{{{policies}}}"), None),
    ] {
        world.row(strategy, "127.0.0.1:1", &config).await;
        assert_eq!(world.charge().await.ok().as_deref(), served, "{strategy}");
        let route = world.route();
        assert_eq!((route.state, route.breaker), (RouteState::InForce, None), "{strategy}");
        assert!(route.warnings.is_empty(), "{strategy}: {:?}", route.warnings);
    }
    assert_eq!(world.attempts.count(), 0);
}

#[tokio::test]
async fn a_wrong_value_of_a_policy_spoils_its_row_and_no_other() {
    let world = World::new();
    world.routes.set("echo", "count", Some("127.0.0.1:1"), "{}");
    for (key, values) in [
        ("retry_max", &["-1", "6", "1.5", "\"3\"", "null", "true"][..]),
        ("retry_backoff_ms", &["0", "60001", "\"50\"", "[]"]),
        ("breaker_failures", &["0", "-5", "1000001", "\"5\""]),
        ("breaker_reset_ms", &["0", "86400001", "{}"]),
        ("breaker_probes", &["0", "1001", "false"]),
        ("fallback", &["\"remote\"", "true", "\"\"", "null"]),
    ] {
        for value in values {
            world.row("count", "127.0.0.1:1", &format!(r#"{{"{key}":{value}}}"#)).await;
            let RouteState::Bad { why, .. } = world.route().state else {
                panic!("{key} = {value} is bad")
            };
            assert!(why.starts_with(&format!("config.{key}: ")), "{why}");
            assert_eq!(kind(world.quote().await), Some(ErrorKind::RouteInvalid), "{key} = {value}");
            assert_eq!(world.router.inspect().route("echo").unwrap().state, RouteState::InForce);
        }
    }
}

#[tokio::test]
async fn inspect_tells_of_the_breaker_and_the_last_error_in_words() {
    let world = World::new();
    world.row("count", &closed_port(), r#"{"breaker_failures":1}"#).await;
    let json = |route: &RouteInfo| serde_json::to_value(route).unwrap();
    let info = json(&world.route());
    assert_eq!(info["breaker"], serde_json::json!({"state": "closed", "failures": 0}));
    assert!(info["last_error"].is_null());
    assert_eq!(kind(world.quote().await), Some(ErrorKind::Connect));
    let info = json(&world.route());
    assert_eq!(
        (&info["breaker"]["state"], &info["last_error"]["kind"]),
        (&"open".into(), &"connect".into())
    );
    for time in [&info["breaker"]["since"], &info["breaker"]["until"], &info["last_error"]["at"]] {
        let text = time.as_str().unwrap();
        assert!(text.len() == 20 && text.starts_with("20") && text.ends_with('Z'), "{text}");
    }
    assert!(info["last_error"]["message"].as_str().unwrap().contains("refused"), "{info}");
    world.row("count", &closed_port(), "{}").await;
    assert!(json(&world.route())["breaker"].is_null());
}

/// 1,000 calls of a port without a listener.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_failing_calls_is_not_made_much_worse_by_retries() {
    let world = World::new();
    world.row("count", &closed_port(), r#"{"retry_max":3,"retry_backoff_ms":20}"#).await;
    let calls: Vec<_> = (0..1000)
        .map(|n| {
            let billing = world.billing.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(n)).await;
                billing.charge("17", 1).await.is_err()
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    let count = world.attempts.count();
    assert!(count > 1100, "{count} attempts: it does retry");
    assert!(count <= 1200 + 100, "{count} attempts: a fifth, and what ten seconds allow beside");
}

#[tokio::test]
async fn every_time_in_an_inspection_has_the_same_form() {
    let world = World::new();
    world.row("unix", "/nowhere/billing.sock", r#"{"breaker_failures":1}"#).await;
    assert_eq!(kind(world.quote().await), Some(ErrorKind::Connect));
    world.row("unix", "/nowhere/billing.sock", "[]").await;
    let info = serde_json::to_value(world.router.inspect()).unwrap();
    let route = &info["routes"][0];
    for (part, time) in [
        ("state", "since"),
        ("transport", "since"),
        ("breaker", "since"),
        ("breaker", "until"),
        ("last_error", "at"),
    ] {
        let time = route[part][time].as_str().unwrap_or_else(|| panic!("{part}: {route}"));
        let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(form, "0000-00-00T00:00:00Z", "{part}");
    }
}
