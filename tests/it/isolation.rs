//! Isolation of calls: implementations that block their thread, layers that panic, and work that
//! outlives its call affect no other call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use connectivity_core::context::{self, Context};
use connectivity_core::layer::ConcurrencyLayer;
use connectivity_core::{
    Call, Error, ErrorKind, HttpTransport, McpTransport, MemoryRoutes, RawForm, Router, Sent,
    Server, ServerBuilder, Tls, register,
};
use tests::shop::*;
use tower::layer::layer_fn;
use tower::util::MapRequest;

/// Gates that block threads. Gate 0 is always open.
static GATES: Gates = Gates {
    state: Mutex::new(Waiting { open: BTreeSet::new(), arrived: BTreeMap::new() }),
    changed: Condvar::new(),
};

struct Gates {
    state: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    open: BTreeSet<usize>,
    /// Names of the threads that have arrived at each gate.
    arrived: BTreeMap<usize, Vec<String>>,
}

impl Gates {
    fn wait(&self, gate: usize) {
        if gate == 0 {
            return;
        }
        let mut state = self.state.lock().unwrap();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        state.arrived.entry(gate).or_default().push(thread);
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.open.contains(&gate)).unwrap());
    }

    /// Waits until `count` threads have arrived at a gate. Returns their names.
    fn reached(&self, gate: usize, count: usize) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let missing = |state: &mut Waiting| {
            state.arrived.get(&gate).is_none_or(|arrived| arrived.len() < count)
        };
        let (state, waited) =
            self.changed.wait_timeout_while(state, Duration::from_secs(30), missing).unwrap();
        let arrived = state.arrived.get(&gate).cloned().unwrap_or_default();
        assert!(!waited.timed_out(), "{} of {count} came to gate {gate}", arrived.len());
        arrived
    }

    fn open(&self, gate: usize) {
        self.state.lock().unwrap().open.insert(gate);
        self.changed.notify_all();
    }
}

/// Number of calls of `linger` in progress.
static LINGERING: AtomicUsize = AtomicUsize::new(0);

/// Blocks its thread at the gate named in the body, then stays pending forever. Returns at once for
/// gate 0.
async fn linger(gate: Bytes) -> Result<Bytes, Error> {
    struct Lingers;
    impl Drop for Lingers {
        fn drop(&mut self) {
            LINGERING.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let gate_number = String::from_utf8_lossy(&gate).parse().unwrap();
    if gate_number == 0 {
        return Ok(gate);
    }
    LINGERING.fetch_add(1, Ordering::SeqCst);
    let _lingers = Lingers;
    GATES.wait(gate_number);
    std::future::pending().await
}

/// A server on every strategy, with `echo` and with `block`, which blocks its thread at the gate
/// named in the body.
struct World {
    server: Server,
    pin: String,
    dir: tempfile::TempDir,
}

impl World {
    /// Starts the server on a runtime of its own, like a separate process, so that blocked threads
    /// there do not block the clients.
    fn on_own_runtime(threads: usize) -> Self {
        let (started, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                started.send(Self::new().await).unwrap();
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().unwrap()
    }

    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
        router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
        router
            .register_raw("block", async |bytes: Bytes| {
                let digits = String::from_utf8_lossy(&bytes)
                    .chars()
                    .filter(char::is_ascii_digit)
                    .collect::<String>();
                GATES.wait(digits.parse().unwrap());
                Ok(bytes)
            })
            .unwrap();
        router.register_raw("linger", linger).unwrap();
        router.register_raw("panics", async |bytes| Ok(bytes)).unwrap();
        let tls = Tls::self_signed(["localhost"]).unwrap();
        let pin = tls.pin_sha256();
        let raw = |mcp: connectivity_core::Mcp| {
            ["echo", "block", "panics"]
                .into_iter()
                .fold(mcp, |mcp, name| mcp.raw(name, RawForm::Json))
        };
        let mcp = connectivity_core::McpListener::new("127.0.0.1:0", tls.clone()).mcp(raw);
        let http = connectivity_core::HttpListener::new("127.0.0.1:0").mcp(raw);
        let builder = Server::builder(&router)
            .expose(["echo", "block", "linger", "panics"])
            .listener("http", http)
            .listener("mcp", mcp);
        let builder = builder
            .unix(dir.path().join("far.sock").display().to_string())
            .quic("127.0.0.1:0", tls);
        Self { server: change(builder).start().await.unwrap(), pin, dir }
    }

    /// Returns a new client with its own connections.
    fn client(&self, strategy: &str) -> Router {
        let routes = MemoryRoutes::new();
        for name in ["echo", "block", "linger", "panics", "nobody"] {
            let address = |strategy| self.server.address(strategy).unwrap();
            let (word, endpoint, config) = match strategy {
                "unix" => {
                    ("unix", self.dir.path().join("far.sock").display().to_string(), String::new())
                }
                "quic" => {
                    ("quic", address("quic").to_owned(), format!(r#""pin_sha256":"{}""#, self.pin))
                }
                "http" => ("http", format!("http://{}/{name}", address("http")), String::new()),
                "mcp" => {
                    let config = format!(r#""tool_name":"{name}","pin_sha256":"{}""#, self.pin);
                    ("mcp", address("mcp").to_owned(), config)
                }
                _ => (
                    "mcp",
                    format!("http://{}/mcp", address("http")),
                    format!(r#""tool_name":"{name}""#),
                ),
            };
            routes.set(name, word, Some(&endpoint), &format!("{{{config}}}"));
        }
        let builder = Router::builder().source(routes);
        let builder = builder.transport("http", HttpTransport::new().allow_internal());
        builder.transport("mcp", McpTransport::new().allow_internal()).build().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_blocks_its_thread_holds_up_nobody_and_is_answered_itself() {
    let world = Arc::new(World::on_own_runtime(16));
    let mut cases = tokio::task::JoinSet::new();
    for (case, strategy) in ["unix", "quic", "http", "mcp", "mcp over http"].into_iter().enumerate()
    {
        for (gate, quick_before) in [(2 * case + 1, 0), (2 * case + 2, 1000)] {
            let world = Arc::clone(&world);
            cases.spawn(
                async move { check_blocked_call(&world, strategy, gate, quick_before).await },
            );
        }
    }
    cases.join_all().await;
}

/// Calls a method that blocks, after `quick_before` quick calls, while another client keeps
/// calling.
async fn check_blocked_call(world: &World, strategy: &str, gate: usize, quick_before: usize) {
    let (bad, good) = (world.client(strategy), world.client(strategy));
    for _ in 0..quick_before {
        bad.call("block", r#"{"gate":0}"#).await.unwrap();
    }
    for _ in 0..50 {
        good.call("echo", "{}").await.unwrap();
    }
    let blocked_call =
        tokio::spawn(async move { bad.call("block", format!(r#"{{"gate":{gate}}}"#)).await });
    // Longer than the timeout for a silent peer.
    let enough = tokio::time::Instant::now() + Duration::from_secs(6);
    for call in 0.. {
        let echo = good.call("echo", "{}").await;
        echo.unwrap_or_else(|error| {
            panic!("{strategy}, after {quick_before}, call {call}: {error}")
        });
        if call >= 50 && tokio::time::Instant::now() > enough {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        !blocked_call.is_finished(),
        "{strategy}, after {quick_before}: nobody has opened its gate"
    );
    GATES.open(gate);
    blocked_call
        .await
        .unwrap()
        .unwrap_or_else(|error| panic!("{strategy}, after {quick_before}: {error}"));
}

/// First gate of the next test. The gates below it belong to the cases above.
const FIRST: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_go_on_while_all_threads_of_the_runtime_are_blocked() {
    let world = World::on_own_runtime(2);
    for (case, strategy) in ["unix", "quic", "http", "mcp"].into_iter().enumerate() {
        let good = world.client(strategy);
        good.call("echo", "{}").await.unwrap();
        let gates = [0, 1].map(|n| FIRST + 2 * case + n);
        let blocked_calls = gates.map(|gate| {
            let bad = world.client(strategy);
            tokio::spawn(async move { bad.call("block", format!(r#"{{"gate":{gate}}}"#)).await })
        });
        for gate in gates {
            tokio::task::block_in_place(|| GATES.reached(gate, 1));
        }
        // A call that needs no implementation is still answered.
        let refused = good.call("nobody", "{}").await.unwrap_err();
        assert_eq!(
            (refused.kind(), refused.sent()),
            (ErrorKind::NotRoutable, Sent::No),
            "{strategy}: {refused}"
        );
        gates.iter().for_each(|gate| GATES.open(*gate));
        for blocked_call in blocked_calls {
            blocked_call.await.unwrap().unwrap_or_else(|error| panic!("{strategy}: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_cancelled_while_it_blocks_its_thread_ends_when_it_stops_to() {
    let world = World::on_own_runtime(12);
    for (strategy, gate) in [("unix", 201), ("quic", 202)] {
        let client = world.client(strategy);
        // After many quick calls, the server polls the method on its read task.
        for _ in 0..1000 {
            client.call("linger", "0").await.unwrap();
        }
        let (caller, text) = (client.clone(), gate.to_string());
        let call = tokio::spawn(async move { caller.call("linger", text).await });
        wait_until(|| LINGERING.load(Ordering::SeqCst) == 1).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        // The reply shows that the server has read the cancellation.
        client.call("echo", "x").await.unwrap();
        GATES.open(gate);
        wait_until(|| LINGERING.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_behind_one_that_blocks_take_no_further_io_threads() {
    const CALLS: usize = 24;
    let world = World::on_own_runtime(2 * CALLS);
    for (strategy, gate) in [("unix", 301), ("quic", 302), ("http", 303), ("mcp", 304)] {
        let client = world.client(strategy);
        // After many quick calls, the server polls the method on its read task.
        for _ in 0..1000 {
            client.call("block", r#"{"gate":0}"#).await.unwrap();
        }
        let calls: Vec<_> = (0..CALLS)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(
                    async move { client.call("block", format!(r#"{{"gate":{gate}}}"#)).await },
                )
            })
            .collect();
        let threads = tokio::task::block_in_place(|| GATES.reached(gate, CALLS));
        let io_threads = threads.iter().filter(|name| name.starts_with("connectivity-")).count();
        GATES.open(gate);
        for call in calls {
            call.await.unwrap().unwrap_or_else(|error| panic!("{strategy}: {error}"));
        }
        // QUIC has two IO threads, and each may have started a poll.
        assert!(io_threads <= 2, "{strategy}: {io_threads} IO threads are blocked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_panics_fails_its_call_and_no_other() {
    let panics = layer_fn(|inner| {
        MapRequest::new(inner, |call: Call| {
            assert!(call.name() != "panics", "a layer of the user's");
            call
        })
    });
    let world = World::with(|builder| builder.layer(panics)).await;
    for strategy in ["unix", "quic", "http", "mcp", "mcp over http"] {
        let client = world.client(strategy);
        for call in 0..40 {
            let failed = client.call("panics", "{}").await.unwrap_err();
            assert!(
                failed.kind() == ErrorKind::Panicked && failed.sent() != Sent::No,
                "{strategy}, call {call}: {failed}"
            );
            client
                .call("echo", "{}")
                .await
                .unwrap_or_else(|error| panic!("{strategy}, call {call}: {error}"));
        }
    }
}

fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}

/// Starts `billing` with a row that limits it to `concurrency` calls, behind a Unix socket. Returns
/// it with a client.
async fn limited_server(
    dir: &tempfile::TempDir,
    concurrency: usize,
) -> (Shop, Server, MemoryRoutes, Router, BillingClient) {
    let (server_routes, shop) = (MemoryRoutes::new(), Shop::at("far"));
    server_routes.set("billing", "local", None, &format!(r#"{{"concurrency":{concurrency}}}"#));
    let server_router = router(&server_routes);
    register!(server_router, Billing => shop.clone()).unwrap();
    let path = dir.path().join("far.sock").display().to_string();
    let server =
        Server::builder(&server_router).expose(["billing"]).unix(&path).start().await.unwrap();
    let client_routes = MemoryRoutes::new();
    client_routes.set("billing", "unix", Some(&path), "{}");
    let client = router(&client_routes);
    let billing = BillingClient::new(&client);
    (shop, server, server_routes, server_router, billing)
}

#[tokio::test]
async fn work_that_goes_on_when_its_call_has_gone_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (shop, _server, _, server_router, billing) = limited_server(&dir, 4).await;
    let local = BillingClient::new(&server_router);
    for client in [&billing, &local] {
        let before = shop.journal.began();
        for _ in 0..200 {
            let in_time = Context::new().with_timeout(Duration::from_millis(20));
            let ended =
                context::scope(in_time, client.audit(3_600_000)).await.map_err(connectivity);
            let kind = ended.unwrap_err().kind();
            assert!(matches!(kind, ErrorKind::Timeout | ErrorKind::Overloaded), "{kind:?}");
            if kind == ErrorKind::Overloaded {
                break;
            }
        }
        assert!(shop.journal.began() <= 4, "{} run at once, {before} before", shop.journal.began());
        assert_eq!(connectivity(client.audit(0).await.unwrap_err()).kind(), ErrorKind::Overloaded);
        assert_eq!(server_router.inspect().route("billing").unwrap().in_flight, 4);
    }
}

#[tokio::test]
async fn work_that_goes_on_keeps_its_place_in_a_layer_until_it_has_ended() {
    tokio::join!(check_layer("local"), check_layer("fallback"), check_layer("outside"));
}

/// With `fallback`, the second attempt of a call is the one that runs.
async fn check_layer(case: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (layer, routes, shop) = (ConcurrencyLayer::new(2), MemoryRoutes::new(), Shop::at("far"));
    let (path, nobody) = (dir.path().join("far.sock"), dir.path().join("nobody.sock"));
    if case == "fallback" {
        routes.set("billing", "unix", nobody.to_str(), r#"{"fallback":"local"}"#);
    }
    let server_router = router(&routes);
    register!(server_router, Billing => shop.clone()).unwrap();
    if case != "outside" {
        server_router.layer_for("billing", layer.clone());
        return check_permits_held(case, &BillingClient::new(&server_router), &layer, &shop).await;
    }
    let builder = Server::builder(&server_router).expose(["billing"]).layer(layer.clone());
    let _server = builder.unix(path.display().to_string()).start().await.unwrap();
    let client_routes = MemoryRoutes::new();
    client_routes.set("billing", "unix", path.to_str(), "{}");
    check_permits_held(case, &BillingClient::new(&router(&client_routes)), &layer, &shop).await;
}

/// Drops two calls whose work continues, under a layer that allows two.
async fn check_permits_held(
    case: &str,
    billing: &BillingClient,
    layer: &ConcurrencyLayer,
    shop: &Shop,
) {
    for more in 1..=2 {
        let mut call = Box::pin(billing.audit(5000));
        tokio::select! {
            _ = &mut call => panic!("it takes five seconds"),
            () = wait_until(|| shop.journal.began() == more) => {}
        }
    }
    assert_eq!(layer.in_flight(), 2, "{case}: the callers have gone, the work has not");
    let error = connectivity(billing.audit(0).await.unwrap_err());
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Overloaded, Sent::No), "{case}");
    wait_until(|| layer.in_flight() == 0).await;
    assert_eq!(shop.journal.ended(), 2, "{case}");
}

async fn wait_until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("within 20 s");
}

#[tokio::test]
async fn an_edit_of_a_row_forgets_no_call_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (shop, _server, server_routes, server_router, billing) = limited_server(&dir, 1).await;
    let running = tokio::spawn({
        let billing = billing.clone();
        async move { billing.sleep(3_600_000).await }
    });
    while shop.journal.began() == 0 {
        tokio::task::yield_now().await;
    }
    for edit in 0..6 {
        match edit {
            0 => server_routes.remove("billing"),
            1 => server_routes.set("billing", "local", None, r#"{"concurrency":"one"}"#),
            2 => server_routes.set("billing", "noop", None, r#"{"concurrency":1}"#),
            _ => server_routes.set(
                "billing",
                "local",
                None,
                &format!(r#"{{"concurrency":1,"timeout_ms":{edit}00000}}"#),
            ),
        }
        server_router.reload().await.unwrap();
        if edit > 2 {
            let error = connectivity(billing.quote("abc").await.unwrap_err());
            assert_eq!(
                (error.kind(), error.sent()),
                (ErrorKind::Overloaded, Sent::No),
                "after edit {edit}"
            );
            assert_eq!(
                server_router.inspect().route("billing").unwrap().in_flight,
                1,
                "after edit {edit}"
            );
        }
    }
    running.abort();
    while billing.quote("abc").await.is_err() {
        tokio::task::yield_now().await;
    }
}
