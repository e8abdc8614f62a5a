//! The service that is called, the process that serves it (a runtime of its own), and the router of its callers.

use std::future::Future;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use connectivity_core::{Error, MemoryRoutes, Router, Server, register, service};
use serde::{Deserialize, Serialize};

/// Four words: 32 bytes in memory, a little more on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words(pub [u64; 4]);

#[service]
pub trait Billing {
    async fn echo(&self, words: Words) -> Result<Words, Error>;

    /// Gives a text back.
    async fn copy(&self, text: String) -> Result<String, Error>;

    /// Computes for so long.
    async fn compute(&self, micros: u64) -> Result<u64, Error>;
}

struct Shop;

impl Billing for Shop {
    async fn echo(&self, words: Words) -> Result<Words, Error> {
        Ok(words)
    }

    async fn copy(&self, text: String) -> Result<String, Error> {
        Ok(text)
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

/// Runs on a thread and a multi-thread runtime of its own until the process ends; gives what `start` makes.
pub fn apart<T, F, Fut>(start: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + Send,
{
    let (made, makes) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async move {
            made.send(start().await).unwrap();
            std::future::pending::<()>().await;
        });
    });
    makes.recv().unwrap()
}

/// A server on every strategy that is measured, and where it is.
pub struct There {
    _server: Server,
    pub dir: tempfile::TempDir,
}

impl There {
    pub fn start() -> Self {
        apart(async || {
            let dir = tempfile::tempdir().unwrap();
            let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
            register!(router, Billing => Shop).unwrap();
            router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
            let builder =
                Server::builder(&router).expose(["billing", "echo"]).unix(path(dir.path()).display().to_string());
            Self { _server: builder.start().await.unwrap(), dir }
        })
    }

    pub fn socket(&self) -> PathBuf {
        path(self.dir.path())
    }

    /// A router whose `billing` is over there, and its client.
    pub fn client(&self, strategy: &str) -> (Router, BillingClient) {
        let routes = MemoryRoutes::new();
        routes.set("billing", strategy, Some(&self.socket().display().to_string()), "{}");
        let router = Router::builder().source(routes).build().unwrap();
        let client = BillingClient::new(&router);
        (router, client)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("billing.sock")
}
