//! How often a request is sent and what its error says: poisoned requests, servers that hang up at
//! once, timeouts before a connection is established, errors of nested calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connectivity_core::{
    Error, ErrorKind, HttpListener, HttpTransport, Mcp, McpListener, McpTransport, MemoryRoutes,
    RawForm, Router, Sent, Server, Tls, register, service,
};
use serde::{Deserialize, Serialize};
use tests::shop::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket, UnixListener};

/// Timeout for anything that is expected to succeed.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns rows, a router with a local implementation that may dial this machine, and a client.
fn local_router() -> (MemoryRoutes, Router, BillingClient) {
    let routes = MemoryRoutes::new();
    let builder = Router::builder()
        .source(routes.clone())
        .transport("http", HttpTransport::new().allow_internal());
    let router = builder.transport("mcp", McpTransport::new().allow_internal()).build().unwrap();
    register!(router, Billing => Shop::at("here")).unwrap();
    let billing = BillingClient::new(&router);
    (routes, router, billing)
}

fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}

/// The reply to the ping that opens a connection, as specified in `docs/wire.md`.
const PONG: [u8; 16] = [0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Starts a Unix server that accepts connections, answers the first ping, and hangs up on a call.
/// Returns the counts of both.
fn start_poisoned_server(path: &std::path::Path) -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (connections, calls) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (connection_count, call_count, listener) =
        (Arc::clone(&connections), Arc::clone(&calls), UnixListener::bind(path).unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            connection_count.fetch_add(1, Ordering::SeqCst);
            // The preamble and a ping.
            if client.read_exact(&mut [0; 24]).await.is_err()
                || client.write_all(&PONG).await.is_err()
            {
                continue;
            }
            let call_count = Arc::clone(&call_count);
            tokio::spawn(async move {
                if client.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {
                    call_count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (connections, calls)
}

#[tokio::test]
async fn a_call_that_ends_its_connection_arrives_as_often_as_its_row_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("poisoned.sock");
    let (_, calls) = start_poisoned_server(&path);
    let (routes, router, billing) = local_router();
    for (retries, arrives) in [(0, 1), (2, 3)] {
        routes.set(
            "billing",
            "unix",
            path.to_str(),
            &format!(r#"{{"retry_max":{retries},"retry_backoff_ms":1}}"#),
        );
        router.reload().await.unwrap();
        calls.store(0, Ordering::SeqCst);
        let error = connectivity(billing.quote("abc").await.unwrap_err());
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Closed, Sent::Maybe),
            "{retries} retries"
        );
        assert_eq!(calls.load(Ordering::SeqCst), arrives, "{retries} retries");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_at_once_is_dialled_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("closes.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = format!("http://{}/billing", tcp.local_addr().unwrap());
    let dials = Arc::<AtomicUsize>::default();
    for strategy in ["unix", "http"] {
        let (routes, router, billing) = local_router();
        let endpoint = if strategy == "unix" { path.to_str().unwrap() } else { &http };
        routes.set("billing", strategy, Some(endpoint), "{}");
        router.reload().await.unwrap();
        dials.store(0, Ordering::SeqCst);
        let (mut failed, began) = (0, tokio::time::Instant::now());
        let callers: Vec<_> = (0..16)
            .map(|_| {
                let billing = billing.clone();
                tokio::spawn(async move {
                    let mut failed = 0;
                    while began.elapsed() < Duration::from_secs(2) {
                        let error = connectivity(billing.charge("abc", 1).await.unwrap_err());
                        assert!(
                            matches!(error.kind(), ErrorKind::Connect | ErrorKind::Closed),
                            "{error}"
                        );
                        failed += 1;
                        tokio::task::yield_now().await;
                    }
                    failed
                })
            })
            .collect();
        let serving = async {
            loop {
                tokio::select! {
                    client = listener.accept() => drop(client.unwrap()),
                    client = tcp.accept() => drop(client.unwrap()),
                }
                dials.fetch_add(1, Ordering::SeqCst);
            }
        };
        let calling = async {
            for caller in callers {
                failed += caller.await.unwrap();
            }
        };
        tokio::select! {
            () = serving => {}
            () = calling => {}
        }
        let dials = dials.load(Ordering::SeqCst);
        // The first few dials happen at once, and each of the sixteen callers over HTTP may have
        // one in flight.
        assert!(dials < 150 && dials < failed, "{strategy}: {dials} dials for {failed} calls");
    }
}

/// Returns a TCP listener that never accepts, with a full backlog.
async fn full_backlog_listener() -> (tokio::net::TcpListener, Vec<tokio::task::JoinHandle<()>>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            Ok(stream) => {
                let stream = stream.unwrap();
                streams.push(tokio::spawn(async move {
                    let _held = stream;
                    std::future::pending().await
                }));
            }
            Err(_full) => return (listener, streams),
        }
    }
}

#[tokio::test]
async fn a_time_limit_that_ends_before_a_connection_is_there_has_sent_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let unix = dir.path().join("silent.sock");
    let _unix = std::os::unix::net::UnixListener::bind(&unix).unwrap();
    let (udp, (tcp, _streams)) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), full_backlog_listener().await);
    let (quic, tcp) = (udp.local_addr().unwrap().to_string(), tcp.local_addr().unwrap());
    let (routes, router, billing) = local_router();
    for (strategy, endpoint) in [
        ("unix", unix.display().to_string()),
        ("quic", quic.clone()),
        ("http", format!("http://{tcp}/billing")),
        ("mcp", quic),
        ("mcp", format!("http://{tcp}/mcp")),
    ] {
        let limit = r#""timeout_ms":700"#;
        routes.set("billing", strategy, Some(&endpoint), &format!("{{{limit}}}"));
        router.reload().await.unwrap();
        let error = connectivity(billing.charge("abc", 1).await.unwrap_err());
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Timeout, Sent::No),
            "{strategy} {endpoint}"
        );
        routes.set(
            "billing",
            strategy,
            Some(&endpoint),
            &format!(r#"{{{limit},"fallback":"local"}}"#),
        );
        router.reload().await.unwrap();
        assert_eq!(
            billing.charge("abc", 1).await.unwrap().served_by,
            "here",
            "{strategy} {endpoint}"
        );
    }
}

/// A contract whose errors can come from a nested call.
#[service]
trait Relay {
    #[idempotent]
    async fn plain(&self) -> Result<u64, Error>;
    #[idempotent]
    async fn wrapped(&self) -> Result<u64, RelayError>;
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum RelayError {
    #[error(transparent)]
    Connectivity(#[from] Error),
}

struct Nested(Arc<AtomicUsize>);

impl Nested {
    fn fail(&self) -> Error {
        self.0.fetch_add(1, Ordering::SeqCst);
        // Looks like the error of a call of the same name that did not leave this process.
        Error::new(ErrorKind::Connect, "relay.plain", "nobody there")
    }
}

impl Relay for Nested {
    async fn plain(&self) -> Result<u64, Error> {
        Err(self.fail())
    }

    async fn wrapped(&self) -> Result<u64, RelayError> {
        Err(self.fail().into())
    }
}

#[tokio::test]
async fn the_error_of_a_nested_call_is_an_answer_on_every_strategy() {
    let (dir, runs) = (tempfile::tempdir().unwrap(), Arc::<AtomicUsize>::default());
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Relay => Nested(Arc::clone(&runs))).unwrap();
    let (tls, path) = (
        Tls::self_signed(["localhost"]).unwrap(),
        dir.path().join("far.sock").display().to_string(),
    );
    let http = HttpListener::new("127.0.0.1:0").mcp(|mcp| mcp);
    let builder = Server::builder(&server_router)
        .expose(["relay"])
        .unix(&path)
        .quic("127.0.0.1:0", tls.clone());
    let server =
        builder.listener("http", http).mcp("127.0.0.1:0", tls.clone()).start().await.unwrap();
    let address = |strategy| server.address(strategy).unwrap().to_owned();
    let pin = format!(r#","pin_sha256":"{}""#, tls.pin_sha256());
    for (strategy, endpoint, config) in [
        ("local", String::new(), ""),
        ("unix", path.clone(), ""),
        ("quic", address("quic"), &*pin),
        ("http", format!("http://{}/relay", address("http")), ""),
        ("mcp", address("mcp"), &pin),
        ("mcp", format!("http://{}/mcp", address("http")), ""),
    ] {
        let (routes, router, _) = local_router();
        register!(router, Relay => Nested(Arc::clone(&runs))).unwrap();
        let endpoint = Some(&*endpoint).filter(|endpoint| !endpoint.is_empty());
        routes.set(
            "relay",
            strategy,
            endpoint,
            &format!(r#"{{"retry_max":2,"retry_backoff_ms":1{config}}}"#),
        );
        router.reload().await.unwrap();
        let relay = RelayClient::new(&router);
        runs.store(0, Ordering::SeqCst);
        let plain = relay.plain().await.unwrap_err();
        let RelayError::Connectivity(wrapped) = relay.wrapped().await.unwrap_err();
        for error in [plain, wrapped] {
            // Locally it is the very error that the implementation returned.
            let is_handed_on = error.is_relayed() && error.sent() != Sent::No;
            assert!(strategy == "local" || is_handed_on, "{strategy} {endpoint:?}: {error:?}");
            assert_eq!(error.kind(), ErrorKind::Connect, "{strategy} {endpoint:?}");
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2, "{strategy} {endpoint:?}: each ran once");
    }
}

#[tokio::test]
async fn a_request_that_a_server_of_tools_refuses_for_its_size_is_answered_at_once() {
    let server_router = router(&MemoryRoutes::new());
    server_router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let tls = Tls::self_signed(["localhost"]).unwrap();
    let raw = |mcp: Mcp| mcp.raw("echo", RawForm::Json).max_message_bytes(1 << 20);
    let quic = McpListener::new("127.0.0.1:0", tls.clone()).mcp(raw);
    let http = HttpListener::new("127.0.0.1:0").mcp(raw);
    let builder = Server::builder(&server_router)
        .expose(["echo"])
        .listener("mcp", quic)
        .listener("http", http);
    let server = builder.start().await.unwrap();
    let crowd = format!(r#"{{"a":[{}0]}}"#, "0,".repeat(263_000));
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat((1 << 20) + 1000));
    let pin = format!(r#""tool_name":"echo","pin_sha256":"{}""#, tls.pin_sha256());
    for (endpoint, config) in [
        (server.address("mcp").unwrap().to_owned(), &*pin),
        (format!("http://{}/mcp", server.address("http").unwrap()), r#""tool_name":"echo""#),
    ] {
        let (routes, router, _) = local_router();
        routes.set("echo", "mcp", Some(&endpoint), &format!("{{{config}}}"));
        router.reload().await.unwrap();
        for large in [&crowd, &long] {
            let call = tokio::time::timeout(TIMEOUT, router.call("echo", large.clone()));
            let error = call.await.expect("it is answered").unwrap_err();
            assert_eq!(
                (error.kind(), error.sent()),
                (ErrorKind::TooLarge, Sent::No),
                "{endpoint}: {error}"
            );
            assert_eq!(
                router.call("echo", r#"{"a":1}"#).await.unwrap(),
                r#"{"a":1}"#,
                "{endpoint}: it goes on"
            );
        }
    }
}

#[tokio::test]
async fn a_request_over_the_limit_of_a_server_of_http_is_refused_at_once() {
    let server_router = router(&MemoryRoutes::new());
    server_router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let http = HttpListener::new("127.0.0.1:0").gateway(|gateway| gateway.max_body_bytes(10 << 20));
    let http = http.mcp(|mcp| mcp.raw("echo", RawForm::Json).max_message_bytes(10 << 20));
    let server = Server::builder(&server_router)
        .expose(["echo"])
        .listener("http", http)
        .start()
        .await
        .unwrap();
    let address = server.address("http").unwrap();
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(11 << 20));
    for (strategy, endpoint, config) in [
        ("http", format!("http://{address}/echo"), "{}"),
        ("mcp", format!("http://{address}/mcp"), r#"{"tool_name":"echo"}"#),
    ] {
        let (routes, router, _) = local_router();
        routes.set("echo", strategy, Some(&endpoint), config);
        router.reload().await.unwrap();
        for _ in 0..3 {
            let call = tokio::time::timeout(TIMEOUT, router.call("echo", large.clone()));
            let error = call.await.expect("it is answered").unwrap_err();
            assert_eq!(
                (error.kind(), error.sent()),
                (ErrorKind::TooLarge, Sent::No),
                "{strategy}: {error}"
            );
            assert_eq!(
                router.call("echo", r#"{"a":1}"#).await.unwrap(),
                r#"{"a":1}"#,
                "{strategy}: it goes on"
            );
        }
    }
}

#[tokio::test]
async fn a_413_of_a_server_that_is_not_ours_says_nothing_of_the_call() {
    let refuses = async || axum::http::StatusCode::PAYLOAD_TOO_LARGE;
    let app = axum::Router::new().route("/echo", axum::routing::post(refuses));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/echo", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    let (routes, router, _) = local_router();
    routes.set("echo", "http", Some(&endpoint), "{}");
    router.reload().await.unwrap();
    let error = router.call("echo", "x").await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::TooLarge, Sent::Maybe), "{error}");
}

/// Starts an MCP server over HTTP with sessions, which refuses unknown sessions with status
/// `unknown`, and calls of the tool `odd` with status 400.
async fn start_forgetful_server(
    unknown: u16,
    sessions: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
) -> std::net::SocketAddr {
    use axum::http::{HeaderMap, StatusCode};
    let unknown = StatusCode::from_u16(unknown).unwrap();
    use serde_json::{Value, json};
    let handler = async move |headers: HeaderMap, body: String| {
        let message: Value = serde_json::from_str(&body).unwrap();
        let is_known = headers
            .get("mcp-session-id")
            .is_some_and(|id| id == sessions.load(Ordering::SeqCst).to_string().as_str());
        let mut out = HeaderMap::new();
        out.insert("content-type", "application/json".parse().unwrap());
        let result = match message["method"].as_str() {
            Some("server/discover") => return (StatusCode::NOT_FOUND, out, String::new()),
            Some("initialize") => {
                let id = sessions.fetch_add(1, Ordering::SeqCst) + 1;
                out.insert("mcp-session-id", id.to_string().parse().unwrap());
                json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                    "serverInfo": { "name": "forgetful", "version": "1" } })
            }
            _ if !is_known => return (unknown, out, "unknown session".to_owned()),
            Some("tools/call") => {
                calls.fetch_add(1, Ordering::SeqCst);
                if message["params"]["name"] == "odd" {
                    return (StatusCode::BAD_REQUEST, out, "odd".to_owned());
                }
                json!({ "content": [], "structuredContent": { "fine": true } })
            }
            Some("ping") => json!({}),
            _ => return (StatusCode::ACCEPTED, HeaderMap::new(), String::new()),
        };
        let response = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        (StatusCode::OK, out, response.to_string())
    };
    let app = axum::Router::new().route("/mcp", axum::routing::post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

#[tokio::test]
async fn a_session_that_its_server_has_forgotten_is_begun_anew_and_a_refused_call_is_not_repeated()
{
    for unknown in [400, 404] {
        let (sessions, calls) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let endpoint = format!(
            "http://{}/mcp",
            start_forgetful_server(unknown, Arc::clone(&sessions), Arc::clone(&calls)).await
        );
        let (routes, router, _) = local_router();
        routes.set("fine", "mcp", Some(&endpoint), r#"{"tool_name":"fine"}"#);
        routes.set("odd", "mcp", Some(&endpoint), r#"{"tool_name":"odd"}"#);
        router.reload().await.unwrap();
        assert_eq!(router.call("fine", "{}").await.unwrap(), r#"{"fine":true}"#);
        // Like a restart: the current session id changes.
        sessions.fetch_add(10, Ordering::SeqCst);
        assert_eq!(
            router.call("fine", "{}").await.unwrap(),
            r#"{"fine":true}"#,
            "on a new session"
        );
        assert_eq!((sessions.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (12, 2));
        let error = router.call("odd", "{}").await.unwrap_err();
        assert_eq!(error.sent(), Sent::Maybe, "{error}");
        assert_eq!(
            (sessions.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)),
            (12, 3),
            "the session is known"
        );
        assert_eq!(router.call("fine", "{}").await.unwrap(), r#"{"fine":true}"#, "and goes on");
    }
}
