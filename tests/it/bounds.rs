//! Limits on one peer: large bodies and connections. Other peers are not affected. The binary
//! `memory` tests the limits on memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use connectivity_core::{
    ErrorKind, HttpTransport, McpListener, McpTransport, MemoryRoutes, RawForm, Router, Sent,
    Server, Tls,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::frames::bytes::{PREAMBLE, request};

/// Timeout for anything that is expected to succeed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A server with `echo` and `hold`. Calls of `hold` stay in flight until `release`.
struct World {
    server: Server,
    path: String,
    pin: String,
    /// Number of calls of `hold` that have started.
    held: Arc<AtomicUsize>,
    release: tokio::sync::watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("far.sock").display().to_string();
        let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
        let (release, released) = tokio::sync::watch::channel(false);
        router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
        let held = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&held);
        let hold = move |bytes: Bytes| {
            let mut released = released.clone();
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                let _ = released.wait_for(|released| *released).await;
                Ok(bytes)
            }
        };
        router.register_raw("hold", hold).unwrap();
        let tls = Tls::self_signed(["localhost"]).unwrap();
        let pin = tls.pin_sha256();
        let raw = |mcp: connectivity_core::Mcp| mcp.raw("echo", RawForm::Json);
        let mcp = McpListener::new("127.0.0.1:0", tls.clone()).mcp(raw);
        let builder = Server::builder(&router).expose(["echo", "hold"]).listener("mcp", mcp);
        let server =
            builder.unix(&path).quic("127.0.0.1:0", tls).http("127.0.0.1:0").start().await.unwrap();
        Self { server, path, pin, held, release, _dir: dir }
    }

    fn client(&self, strategy: &str, config: &str) -> Router {
        let routes = MemoryRoutes::new();
        for name in ["echo", "hold"] {
            let endpoint = match strategy {
                "unix" => self.path.clone(),
                "http" => format!("http://{}/{name}", self.server.address("http").unwrap()),
                strategy => self.server.address(strategy).unwrap().to_owned(),
            };
            let mut keys = config.to_owned();
            if ["quic", "mcp"].contains(&strategy) {
                keys += &format!(r#","pin_sha256":"{}""#, self.pin);
            }
            if strategy == "mcp" {
                keys += &format!(r#","tool_name":"{name}""#);
            }
            routes.set(name, strategy, Some(&endpoint), &format!("{{{keys}}}"));
        }
        let builder = Router::builder()
            .source(routes)
            .transport("http", HttpTransport::new().allow_internal());
        builder.transport("mcp", McpTransport::new().allow_internal()).build().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_that_stop_hold_up_no_other() {
    let world = World::new().await;
    let mut single = PREAMBLE;
    single[4] = 1;
    let large = request(1, 0, Some("echo"), &vec![7; 1 << 20]);
    let mut stalled = Vec::new();
    for beginning in [4, 16, 1000, 70_000].repeat(8) {
        let mut stream = UnixStream::connect(&world.path).await.unwrap();
        stream.write_all(&[&single[..], &large[..beginning]].concat()).await.unwrap();
        stalled.push(stream);
    }
    for strategy in ["unix", "quic", "http", "mcp"] {
        let client = world.client(strategy, r#""timeout_ms":20000"#);
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(300_000));
        assert_eq!(client.call("echo", body.clone()).await.unwrap(), body, "{strategy}");
    }
    // A request that the server gives up on gets an error reply, which says that it did not run.
    let mut reply = Vec::new();
    tokio::time::timeout(TIMEOUT, stalled[3].read_to_end(&mut reply))
        .await
        .expect("it is given up")
        .unwrap();
    assert!(String::from_utf8_lossy(&reply).contains("timeout"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_requests_of_one_client_are_all_served() {
    let world = World::new().await;
    for strategy in ["unix", "quic", "http", "mcp"] {
        let client = world.client(strategy, r#""timeout_ms":240000"#);
        let body = Bytes::from(format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20)));
        let calls: Vec<_> = (0..64)
            .map(|_| {
                let (client, body) = (client.clone(), body.clone());
                tokio::spawn(async move {
                    client.call("echo", body.clone()).await.map(|reply| reply == body)
                })
            })
            .collect();
        for call in calls {
            let call =
                tokio::time::timeout(8 * TIMEOUT, call).await.expect("it is served").unwrap();
            assert!(call.unwrap_or_else(|error| panic!("{strategy}: {error}")), "{strategy}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_that_runs_keeps_no_other_from_beginning() {
    let world = World::new().await;
    for strategy in ["unix", "quic", "http"] {
        world.release.send_replace(false);
        let client = world.client(strategy, r#""timeout_ms":60000"#);
        let call = |name| {
            let client = client.clone();
            tokio::spawn(async move {
                client.call(name, vec![7; 100_000]).await.map(|reply| reply.len())
            })
        };
        world.held.store(0, Ordering::SeqCst);
        let running: Vec<_> = (0..24).map(|_| call("hold")).collect();
        let all_begin = async {
            while world.held.load(Ordering::SeqCst) < running.len() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, all_begin).await.expect("they begin");
        let next = tokio::time::timeout(TIMEOUT, call("echo")).await.expect("it begins").unwrap();
        assert_eq!(next.unwrap(), 100_000, "{strategy}");
        assert!(running.iter().all(|call| !call.is_finished()));
        world.release.send_replace(true);
        for call in running {
            assert_eq!(call.await.unwrap().unwrap(), 100_000, "{strategy}");
        }
    }
}

#[tokio::test]
async fn a_body_over_the_servers_limit_is_refused_unsent() {
    let world = World::new().await;
    for strategy in ["unix", "quic", "http"] {
        let client = world.client(strategy, r#""max_request_bytes":67108864"#);
        let error = client.call("echo", vec![7; 17 << 20]).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::TooLarge, Sent::No),
            "{strategy}: {error}"
        );
        assert_eq!(client.call("echo", "x").await.unwrap(), "x", "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_do_not_begin_keep_nobody_out() {
    let world = World::new().await;
    let mut silent = Vec::new();
    for _ in 0..1100 {
        silent.push(UnixStream::connect(&world.path).await.unwrap());
        if silent.len() % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let client = world.client("unix", r#""timeout_ms":20000"#);
    assert_eq!(client.call("echo", "x").await.unwrap(), "x");
    // The server closed the oldest connection.
    let mut oldest = silent.swap_remove(0);
    let closed = tokio::time::timeout(Duration::from_secs(5), oldest.read(&mut [0; 1])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
}
