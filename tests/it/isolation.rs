//! One bad call is nobody else's: implementations that block their thread, peers that send without end or never read.

use std::time::Duration;

use connectivity_core::{HttpTransport, McpTransport, MemoryRoutes, RawForm, Router, Server, Tls};

/// A server on every strategy, with an `echo` and a `block` that sleeps on its thread for as many milliseconds as it is told.
struct World {
    server: Server,
    pin: String,
    dir: tempfile::TempDir,
}

const STRATEGIES: [&str; 5] = ["unix", "quic", "http", "mcp", "mcp over http"];

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
        router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
        router
            .register_raw("block", async |bytes: bytes::Bytes| {
                let digits = String::from_utf8_lossy(&bytes).chars().filter(char::is_ascii_digit).collect::<String>();
                std::thread::sleep(Duration::from_millis(digits.parse().unwrap()));
                Ok(bytes)
            })
            .unwrap();
        let tls = Tls::self_signed(["localhost"]).unwrap();
        let pin = tls.pin_sha256();
        let raw = |mcp: connectivity_core::Mcp| mcp.raw("echo", RawForm::Json).raw("block", RawForm::Json);
        let mcp = connectivity_core::McpListener::new("127.0.0.1:0", tls.clone()).mcp(raw);
        let http = connectivity_core::HttpListener::new("127.0.0.1:0").mcp(raw);
        let builder = Server::builder(&router).expose(["echo", "block"]).listener("http", http).listener("mcp", mcp);
        let builder = builder.unix(dir.path().join("far.sock").display().to_string()).quic("127.0.0.1:0", tls);
        Self { server: builder.start().await.unwrap(), pin, dir }
    }

    /// A client of its own, with connections of its own.
    fn client(&self, strategy: &str) -> Router {
        let routes = MemoryRoutes::new();
        for name in ["echo", "block"] {
            let address = |strategy| self.server.address(strategy).unwrap();
            let (word, endpoint, config) = match strategy {
                "unix" => ("unix", self.dir.path().join("far.sock").display().to_string(), String::new()),
                "quic" => ("quic", address("quic").to_owned(), format!(r#""pin_sha256":"{}""#, self.pin)),
                "http" => ("http", format!("http://{}/{name}", address("http")), String::new()),
                "mcp" => {
                    let config = format!(r#""tool_name":"{name}","pin_sha256":"{}""#, self.pin);
                    ("mcp", address("mcp").to_owned(), config)
                }
                _ => ("mcp", format!("http://{}/mcp", address("http")), format!(r#""tool_name":"{name}""#)),
            };
            routes.set(name, word, Some(&endpoint), &format!("{{{config}}}"));
        }
        let builder = Router::builder().source(routes);
        let builder = builder.transport("http", HttpTransport::new().allow_internal());
        builder.transport("mcp", McpTransport::new().allow_internal()).build().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_method_that_blocks_its_thread_holds_up_nobody_and_is_answered_itself() {
    let world = World::new().await;
    for (strategy, quick_before) in STRATEGIES.into_iter().flat_map(|strategy| [(strategy, 0), (strategy, 1000)]) {
        let (bad, good) = (world.client(strategy), world.client(strategy));
        for _ in 0..quick_before {
            bad.call("block", r#"{"ms":0}"#).await.unwrap();
        }
        good.call("echo", "{}").await.unwrap();
        // Longer than a peer is silent before it is given up.
        let blocked = tokio::spawn(async move { bad.call("block", r#"{"ms":6000}"#).await });
        for _ in 0..50 {
            good.call("echo", "{}").await.unwrap_or_else(|error| panic!("{strategy}: {error}"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!blocked.is_finished(), "{strategy}, after {quick_before}: the others waited for it");
        blocked.await.unwrap().unwrap_or_else(|error| panic!("{strategy}: {error}"));
    }
}
