//! Known faults of routers like this one, each with a test that shows its absence: servers that
//! never answer, overlapping reloads, rows that look alike, error texts from elsewhere.
//! `docs/from-go.md` has the whole list.

use std::io::ErrorKind::WouldBlock;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use connectivity_core::{
    Added, BuildContext, CallService, ChangeFn, Error, ErrorKind, Field, HttpTransport,
    MemoryRoutes, Name, OrInternal, Remote, Reply, Route, RouteError, RouteRow, RouteSource,
    RouteState, Router, Sent, Server, Snapshot, SourceError, Transport, TransportState, WatchGuard,
    register,
};
use tokio::task::JoinHandle;

use tests::shop::*;

/// Timeout for anything that is expected to succeed.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Three servers that accept data and never answer.
struct BlackHoles {
    quic: UdpSocket,
    http: TcpListener,
    unix: UnixListener,
    rows: [(&'static str, String); 3],
    _dir: tempfile::TempDir,
}

impl BlackHoles {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("silent.sock");
        let quic = UdpSocket::bind("127.0.0.1:0").unwrap();
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(&path).unwrap();
        quic.set_nonblocking(true).unwrap();
        http.set_nonblocking(true).unwrap();
        unix.set_nonblocking(true).unwrap();
        let rows = [
            ("quic", quic.local_addr().unwrap().to_string()),
            ("http", format!("http://{}/http", http.local_addr().unwrap())),
            ("unix", path.display().to_string()),
        ];
        Self { quic, http, unix, rows, _dir: dir }
    }

    /// Writes one row per server. The name of each row is its strategy.
    async fn route(&self, routes: &MemoryRoutes, router: &Router, config: &str) {
        for (strategy, endpoint) in &self.rows {
            routes.set(strategy, strategy, Some(endpoint), config);
        }
        router.reload().await.unwrap();
    }

    /// Returns whether no client has connected. Checking closes a connection that it finds.
    fn is_untouched(&self) -> bool {
        self.quic.peek(&mut [0; 64]).is_err_and(|error| error.kind() == WouldBlock)
            && self.http.accept().is_err_and(|error| error.kind() == WouldBlock)
            && self.unix.accept().is_err_and(|error| error.kind() == WouldBlock)
    }
}

/// Returns rows, a router with a local implementation that may dial this machine, and a client.
fn local_router() -> (MemoryRoutes, Router, BillingClient) {
    let routes = MemoryRoutes::new();
    let http = HttpTransport::new().allow_internal();
    let router = Router::builder().source(routes.clone()).transport("http", http).build().unwrap();
    register!(router, Billing => Shop::at("here")).unwrap();
    let billing = BillingClient::new(&router);
    (routes, router, billing)
}

async fn wait_until(mut condition: impl FnMut() -> bool) {
    let waiting = tokio::time::timeout(TIMEOUT, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    waiting.await.expect("within 20 s");
}

#[tokio::test]
async fn a_route_to_a_black_hole_is_in_force_at_once_and_nothing_is_dialled_for_it() {
    let (black_holes, (routes, router, _)) = (BlackHoles::new(), local_router());
    black_holes.route(&routes, &router, "{}").await;
    for (name, _) in &black_holes.rows {
        let inspection = router.inspect();
        let route = inspection.route(name).unwrap();
        assert_eq!(
            (&route.state, &route.transport),
            (&RouteState::InForce, &Some(TransportState::Idle)),
            "{name}"
        );
    }
    assert!(black_holes.is_untouched());
}

#[tokio::test]
async fn calls_into_black_holes_hold_up_no_other_call_no_reload_and_no_registration() {
    let (black_holes, (routes, router, billing)) = (BlackHoles::new(), local_router());
    black_holes.route(&routes, &router, r#"{"drain_ms":86400000}"#).await;
    let calls: Vec<JoinHandle<_>> = black_holes
        .rows
        .iter()
        .map(|(name, _)| {
            let (router, name) = (router.clone(), *name);
            tokio::spawn(async move { router.call(name, "x").await })
        })
        .collect();
    let in_flight = |name: &str| router.inspect().route(name).unwrap().in_flight == 1;
    wait_until(|| {
        black_holes.rows.iter().all(|(name, _)| in_flight(name))
            && black_holes.quic.peek(&mut [0; 64]).is_ok()
    })
    .await;

    assert_eq!(billing.quote("abc").await, Ok(3), "a local call");
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    assert_eq!(router.call("echo", "x").await.unwrap(), "x");
    // Replace the routes while their calls are in flight: the reload does not wait for the old
    // routes.
    for (name, _) in &black_holes.rows {
        routes.set(name, "noop", None, "{}");
    }
    router.reload().await.unwrap();
    for (name, _) in &black_holes.rows {
        assert_eq!(router.call(name, "x").await.unwrap(), "", "{name}");
    }
    assert!(calls.iter().all(|call| !call.is_finished()), "the calls go on meanwhile");
    assert_eq!(
        router.close(Duration::ZERO).await,
        3,
        "calls of routes that were replaced count, and are ended"
    );
    for call in calls {
        let error =
            tokio::time::timeout(TIMEOUT, call).await.expect("it was ended").unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

#[tokio::test]
async fn a_route_that_is_replaced_ends_its_stuck_calls_after_its_drain_time() {
    let (black_holes, (routes, router, _)) = (BlackHoles::new(), local_router());
    for name in ["quic", "http", "unix"] {
        black_holes.route(&routes, &router, r#"{"drain_ms":1}"#).await;
        let call = tokio::spawn({
            let router = router.clone();
            async move { router.call(name, "x").await }
        });
        wait_until(|| router.inspect().route(name).unwrap().in_flight == 1).await;
        routes.set(name, "noop", None, "{}");
        router.reload().await.unwrap();
        let ended = tokio::time::timeout(TIMEOUT, call).await.unwrap().unwrap();
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed, "{name}");
    }
}

/// A transport whose `build` blocks until the test lets it go on. Its routes reply `far`.
struct Slow {
    building: SyncSender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl Transport for Slow {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        if route.endpoint() == Some("slow") {
            self.building.send(()).unwrap();
            let _ = self.go_on.lock().unwrap().recv_timeout(TIMEOUT);
        }
        Ok(Remote::new(CallService::from_fn(|_call| std::future::ready(Ok(Reply::raw("far"))))))
    }
}

#[tokio::test]
async fn a_transport_that_is_slow_to_build_holds_up_no_call() {
    let (routes, router, billing) = local_router();
    let ((building, is_building), (go_on, gate)) = (sync_channel(1), sync_channel(1));
    router.add_transport("slow", Slow { building, go_on: Mutex::new(gate) }).unwrap();
    routes.set("thumb", "slow", Some("quick"), "{}");
    router.reload().await.unwrap();
    routes.set("other", "slow", Some("slow"), "{}");
    tokio::task::spawn_blocking(move || is_building.recv_timeout(TIMEOUT)).await.unwrap().unwrap();
    let reload = tokio::spawn({
        let router = router.clone();
        async move { router.reload().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(billing.quote("abc").await, Ok(3), "a local call");
    assert_eq!(router.call("thumb", "x").await.unwrap(), "far", "a remote one");
    assert!(router.inspect().route("other").is_none() && !router.services().is_empty());
    assert!(!reload.is_finished(), "all of this while it builds");
    go_on.send(()).unwrap();
    reload.await.unwrap().unwrap();
    assert_eq!(router.call("other", "x").await.unwrap(), "far");
}

#[tokio::test(start_paused = true)]
async fn a_remote_call_without_a_deadline_ends_after_thirty_seconds() {
    struct Pending;
    impl Transport for Pending {
        fn build(&self, _route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
            Ok(Remote::new(CallService::from_fn(|_call| std::future::pending())))
        }
    }
    let routes = MemoryRoutes::new();
    routes.set("thumb", "pending", Some("x"), "{}");
    let router = Router::builder().source(routes).transport("pending", Pending).build().unwrap();
    let began = tokio::time::Instant::now();
    let error = router.call("thumb", "x").await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::Timeout, 30));
}

#[tokio::test]
async fn a_far_end_that_is_not_there_yet_is_found_once_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = dir.path().join("late.sock").display().to_string();
    let (routes, router, _) = local_router();
    routes.set("http", "http", Some(&format!("http://{port}/echo")), "{}");
    routes.set("unix", "unix", Some(&socket), r#"{"remote_name":"echo"}"#);
    router.reload().await.unwrap();
    for name in ["http", "unix"] {
        let error = router.call(name, "x").await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No), "{name}");
    }
    let server_router = tests::shop::router(&MemoryRoutes::new());
    server_router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let builder =
        Server::builder(&server_router).expose(["echo"]).http(port.to_string()).unix(socket);
    let _server = builder.start().await.unwrap();
    let generation = router.generation();
    for name in ["http", "unix"] {
        assert_eq!(router.call(name, "x").await.unwrap(), "x", "{name}");
    }
    assert_eq!(router.generation(), generation, "no row was touched");
}

#[tokio::test]
async fn rows_that_look_alike_when_joined_are_told_apart() {
    let (routes, router, _) = local_router();
    let set = async |endpoint: &str, config: &str| {
        routes.set("thumb", "http", Some(endpoint), config);
        router.reload().await.unwrap();
        router.inspect().route("thumb").unwrap().state.clone()
    };
    assert_eq!(set("http://10.0.0.1/x|1", "{}").await, RouteState::InForce);
    let state = set("http://10.0.0.1/x", "1|{}").await;
    assert!(
        matches!(state, RouteState::Bad { ref why, .. } if why.starts_with("config: ")),
        "{state:?}"
    );
    assert_eq!(set("http://10.0.0.1/x|1", "{}").await, RouteState::InForce);
}

/// Signals that a read has arrived, and blocks it until released.
type Gate = (SyncSender<()>, Mutex<Receiver<()>>);

/// A source whose next read can be held after it has read its rows and before it returns them. It
/// never reports changes.
#[derive(Clone, Default)]
struct Held {
    rows: MemoryRoutes,
    hold: Arc<AtomicBool>,
    gate: Arc<OnceLock<Gate>>,
}

impl RouteSource for Held {
    fn read(&self) -> Result<Snapshot, SourceError> {
        let rows = self.rows.read();
        if let Some((has_read, go_on)) =
            self.gate.get().filter(|_| self.hold.swap(false, Ordering::SeqCst))
        {
            has_read.send(()).unwrap();
            let _ = go_on.lock().unwrap().recv_timeout(TIMEOUT);
        }
        rows
    }

    fn watch(&self, _changed: ChangeFn) -> Result<WatchGuard, SourceError> {
        Ok(WatchGuard::on_drop(|| {}))
    }

    fn add_missing(&self, names: &[&Name]) -> Result<Added, SourceError> {
        self.rows.add_missing(names)
    }

    fn add_strategies(&self, words: &[&str]) -> Result<(), SourceError> {
        self.rows.add_strategies(words)
    }

    fn warnings(&self) -> Vec<String> {
        self.rows.warnings()
    }
}

#[tokio::test]
async fn of_two_reloads_at_once_the_older_rows_never_win() {
    let source = Held::default();
    let router = Router::builder().source(source.clone()).build().unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let ((has_read, read), (go_on, gate)) = (sync_channel(1), sync_channel(1));
    assert!(source.gate.set((has_read, Mutex::new(gate))).is_ok());
    let reload = || {
        let router = router.clone();
        tokio::spawn(async move { router.reload().await })
    };
    source.hold.store(true, Ordering::SeqCst);
    let older = reload();
    tokio::task::spawn_blocking(move || read.recv_timeout(TIMEOUT)).await.unwrap().unwrap();
    source.rows.set("echo", "noop", None, "{}");
    let mut newer = reload();
    // If reloads overlap, the newer one ends now. If not, it waits for the older one.
    let overlaps = tokio::time::timeout(Duration::from_millis(100), &mut newer).await;
    go_on.send(()).unwrap();
    older.await.unwrap().unwrap();
    if overlaps.is_err() {
        newer.await.unwrap().unwrap();
    }
    assert_eq!(router.call("echo", "x").await.unwrap(), "", "the newer row is in force");
}

#[tokio::test]
async fn after_a_close_no_strategy_serves_locally() {
    for strategy in ["noop", "local", "http", "none"] {
        let (routes, router, billing) = local_router();
        match strategy {
            "none" => routes.remove("billing"),
            strategy => routes.set("billing", strategy, Some("http://127.0.0.1:9/billing"), "{}"),
        }
        router.reload().await.unwrap();
        router.close(Duration::ZERO).await;
        let closed = |error: BillingError| matches!(error, BillingError::Connectivity(e) if e.kind() == ErrorKind::Closed);
        assert!(billing.quote("abc").await.is_err_and(closed), "{strategy}");
        router.reload().await.unwrap();
        assert_eq!(
            router.call("billing.quote", "{}").await.unwrap_err().kind(),
            ErrorKind::Closed,
            "{strategy}"
        );
    }
}

#[tokio::test]
async fn hostile_names_and_texts_are_escaped_on_inspect() {
    let (routes, router, _) = local_router();
    let hostile = "\u{1b}[2J\r\n'; DROP TABLE routes; --";
    routes.set_row(RouteRow::new(hostile, "noop", None, "{}"));
    routes.set_row(RouteRow::new("a", hostile, None, "{}"));
    routes.set_row(RouteRow::new("b", "http", Some(hostile), "{}"));
    routes.set_row(RouteRow::new("c", "noop", None, hostile));
    routes.set_row(RouteRow::new("d", "noop", None, r#"{"\u001b[2J":1}"#));
    routes.set_row(RouteRow::from_fields(
        Field::Null,
        Field::text("noop"),
        Field::Null,
        Field::Null,
    ));
    router.reload().await.unwrap();
    let inspection = router.inspect();
    let clean = |text: &str| !text.contains(char::is_control);
    for route in &inspection.routes {
        assert!(clean(&route.name) && route.endpoint.as_deref().is_none_or(clean), "{route:?}");
        assert!(route.warnings.iter().all(|text| clean(text)), "{route:?}");
        if let RouteState::Bad { why, .. } = &route.state {
            assert!(clean(why), "{route:?}");
        }
    }
    assert_eq!(inspection.routes.len(), 7, "six hostile ones and billing");
    assert_eq!(inspection.route("d").unwrap().warnings.len(), 1, "an unknown key");
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_a_bad_row_whatever_the_guard_allows() {
    let (routes, router, billing) = local_router();
    for endpoint in [
        "billing",
        "",
        "10.0.0.5:8080/billing",
        "//10.0.0.5/billing",
        "http:",
        "http://",
        "http://[::1/x",
        "unix:/x",
    ] {
        routes.set("billing", "http", Some(endpoint), "{}");
        router.reload().await.unwrap();
        let state = router.inspect().route("billing").unwrap().state.clone();
        assert!(
            matches!(state, RouteState::Bad { ref why, .. } if why.starts_with("endpoint: ")),
            "{endpoint}: {state:?}"
        );
        assert_eq!(billing.quote("abc").await, Ok(3), "the last good route, which is local, stays");
    }
}

async fn serve(app: axum::Router) -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, app).await });
    address
}

#[tokio::test]
async fn a_far_end_cannot_choose_how_long_or_what_an_error_text_is() {
    let page = || "\u{1b}[2J".repeat(5 << 20 >> 2);
    let ours = [("connectivity-error", "internal")];
    let short = [("connectivity-error", "no kind of ours"), ("connectivity-sent", "perhaps")];
    let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
    let app = axum::Router::new()
        .route("/foreign", axum::routing::post(move || async move { (status, page()) }))
        .route("/ours", axum::routing::post(move || async move { (status, ours, page()) }))
        .route(
            "/json",
            axum::routing::post(move || async move {
                (
                    status,
                    short,
                    format!(r#"{{"kind":"x","message":"{}"}}"#, "\\u001b[2J".repeat(600)),
                )
            }),
        );
    let address = serve(app).await;
    let (routes, router, _) = local_router();
    for name in ["foreign", "ours", "json"] {
        routes.set(name, "http", Some(&format!("http://{address}/{name}")), "{}");
    }
    router.reload().await.unwrap();
    for name in ["foreign", "ours", "json"] {
        let error = router.call(name, "x").await.unwrap_err();
        assert!(
            error.message().len() <= 1024 && error.to_string().len() <= 2048,
            "{name}: {error}"
        );
        assert!(!error.message().contains('\u{1b}') && error.sent() != Sent::No, "{name}: {error}");
    }
}

#[tokio::test]
async fn what_an_implementation_says_of_its_failure_stays_in_its_process() {
    let server_router = router(&MemoryRoutes::new());
    let leaky = async |_bytes| {
        Err(std::io::Error::other("secret: postgres://root:hunter2@db")).or_internal()
    };
    server_router.register_raw("leaky", leaky).unwrap();
    server_router
        .register_raw("panicky", async |_bytes| -> Result<bytes::Bytes, Error> {
            panic!("secret: hunter2")
        })
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("far.sock").display().to_string();
    let builder = Server::builder(&server_router)
        .expose(["leaky", "panicky"])
        .http("127.0.0.1:0")
        .unix(socket.clone());
    let server = builder.start().await.unwrap();
    let http = server.address("http").unwrap().to_owned();
    let (routes, router, _) = local_router();
    for (name, kind) in [("leaky", ErrorKind::Internal), ("panicky", ErrorKind::Panicked)] {
        for (strategy, endpoint) in
            [("http", format!("http://{http}/{name}")), ("unix", socket.clone())]
        {
            routes.set(name, strategy, Some(&endpoint), "{}");
            router.reload().await.unwrap();
            let error = router.call(name, "x").await.unwrap_err();
            assert_eq!((error.kind(), error.message()), (kind, ""), "{strategy} {error:?}");
        }
        let mut stream = tokio::net::TcpStream::connect(&http).await.unwrap();
        let request = format!(
            "POST /{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let mut response = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut response).await.unwrap();
        assert!(
            response.starts_with("HTTP/1.1 500 ") && !response.contains("secret"),
            "{response}"
        );
    }
}
