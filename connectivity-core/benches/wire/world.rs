//! The measured service, its server on a runtime of its own, and the router of its callers.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use connectivity_core::{Error, MemoryRoutes, Router, Server, Tls, register, service};
use serde::{Deserialize, Serialize};

use crate::apart::on_own_runtime;

/// Four words: 32 bytes in memory, slightly more on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words(pub [u64; 4]);

#[service]
pub trait Billing {
    async fn echo(&self, words: Words) -> Result<Words, Error>;

    /// Returns its argument.
    async fn copy(&self, text: String) -> Result<String, Error>;

    /// Blocks its thread for `millis`, or, if that is 0, for 5 ms at every twentieth call.
    async fn block(&self, millis: u64) -> Result<u64, Error>;

    /// Computes for `micros`.
    async fn compute(&self, micros: u64) -> Result<u64, Error>;
}

/// The implementation. Counts the calls of `block`.
#[derive(Default)]
struct Shop(AtomicU64);

impl Billing for Shop {
    async fn echo(&self, words: Words) -> Result<Words, Error> {
        Ok(words)
    }

    async fn copy(&self, text: String) -> Result<String, Error> {
        Ok(text)
    }

    async fn block(&self, millis: u64) -> Result<u64, Error> {
        let calls = self.0.fetch_add(1, Ordering::Relaxed);
        let millis = if millis == 0 && calls.is_multiple_of(20) { 5 } else { millis };
        if millis > 0 {
            std::thread::sleep(Duration::from_millis(millis));
        }
        Ok(calls)
    }

    async fn compute(&self, micros: u64) -> Result<u64, Error> {
        let end = Instant::now() + Duration::from_micros(micros);
        let mut sum = 0_u64;
        while Instant::now() < end {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(micros));
        }
        Ok(sum)
    }
}

/// A server with a listener for every measured strategy, and its addresses.
pub struct RemoteServer {
    _server: Server,
    pub dir: tempfile::TempDir,
    quic: String,
    pin: String,
}

impl RemoteServer {
    pub fn start() -> Self {
        on_own_runtime(async || {
            let dir = tempfile::tempdir().unwrap();
            let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
            register!(router, Billing => Shop::default()).unwrap();
            router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
            let tls = Tls::self_signed(["localhost"]).unwrap();
            let pin = tls.pin_sha256();
            let builder = Server::builder(&router).expose(["billing", "echo"]);
            let builder = builder.unix(socket(dir.path())).quic("127.0.0.1:0", tls);
            let server = builder.start().await.unwrap();
            let quic = server.address("quic").unwrap().to_owned();
            Self { _server: server, dir, quic, pin }
        })
    }

    /// Returns endpoint and config of a row. Rows with different numbers never share a connection.
    pub fn row(&self, strategy: &str, number: usize) -> (String, String) {
        if strategy == "quic" {
            let config =
                format!(r#""pin_sha256":"{}","server_name":"n{number}.localhost""#, self.pin);
            return (self.quic.clone(), config);
        }
        let name = self.dir.path().join(format!("{number}.sock"));
        // A different name counts as a different endpoint.
        let _ = std::os::unix::fs::symlink(socket(self.dir.path()), &name);
        (name.display().to_string(), r#""codec":"bincode""#.to_owned())
    }

    /// Returns a router whose `billing` goes to this server, and a client of it.
    pub fn client(&self, strategy: &str) -> (Router, BillingClient) {
        let routes = MemoryRoutes::new();
        let (endpoint, config) = self.row(strategy, 0);
        routes.set("billing", strategy, Some(&endpoint), &format!("{{{config}}}"));
        let router = Router::builder().source(routes).build().unwrap();
        let client = BillingClient::new(&router);
        (router, client)
    }
}

fn socket(dir: &Path) -> String {
    dir.join("billing.sock").display().to_string()
}
