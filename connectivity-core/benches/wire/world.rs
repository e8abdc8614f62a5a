//! The service that is called, the process that serves it (a runtime of its own), and the router of
//! its callers.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use connectivity_core::{Error, MemoryRoutes, Router, Server, Tls, register, service};
use serde::{Deserialize, Serialize};

use crate::apart::apart;

/// Four words: 32 bytes in memory, a little more on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words(pub [u64; 4]);

#[service]
pub trait Billing {
    async fn echo(&self, words: Words) -> Result<Words, Error>;

    /// Gives a text back.
    async fn copy(&self, text: String) -> Result<String, Error>;

    /// Blocks its thread for 5 ms at every twentieth call, or for as long as it is told.
    async fn block(&self, millis: u64) -> Result<u64, Error>;

    /// Computes for so long.
    async fn compute(&self, micros: u64) -> Result<u64, Error>;
}

/// Counts the calls of `block`.
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

/// A server on every strategy that is measured, and how to reach it.
pub struct There {
    _server: Server,
    pub dir: tempfile::TempDir,
    quic: String,
    pin: String,
}

impl There {
    pub fn start() -> Self {
        apart(async || {
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

    /// Endpoint and config of a row for a connection that no row with another number shares.
    pub fn row(&self, strategy: &str, number: usize) -> (String, String) {
        if strategy == "quic" {
            let config =
                format!(r#""pin_sha256":"{}","server_name":"n{number}.localhost""#, self.pin);
            return (self.quic.clone(), config);
        }
        let name = self.dir.path().join(format!("{number}.sock"));
        // Another name is another endpoint.
        let _ = std::os::unix::fs::symlink(socket(self.dir.path()), &name);
        (name.display().to_string(), r#""codec":"bincode""#.to_owned())
    }

    /// A router whose `billing` is over there, and its client.
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
