//! An MCP server of this framework, and a client whose rows lead to it.

use std::sync::Arc;
use std::time::Duration;

use connectivity_core::{
    Error, HttpListener, Mcp, McpListener, McpTransport, MemoryRoutes, RawForm, Router, ServeError,
    Server, Tls, register,
};
use tests::shop::*;
use tokio::sync::watch;

/// A server over QUIC and over HTTP with `billing`, `echo` and `hold`. Calls of `hold` are counted
/// and never answered.
pub(super) struct TestServer {
    pub(super) handle: Server,
    pub(super) shop: Shop,
    held: watch::Receiver<usize>,
    pin: String,
}

impl TestServer {
    pub(super) async fn start() -> Self {
        Self::start_on("127.0.0.1:0", Tls::self_signed(["localhost"]).unwrap()).await
    }

    /// Listens on this address. Allows one session.
    pub(super) async fn start_on(quic: &str, tls: Tls) -> Self {
        Self::try_start_on(quic, tls).await.unwrap()
    }

    pub(super) async fn try_start_on(quic: &str, tls: Tls) -> Result<Self, ServeError> {
        let (router, shop) = (router(&MemoryRoutes::new()), Shop::at("far"));
        register!(router, Billing => shop.clone()).unwrap();
        router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
        let pin = tls.pin_sha256();
        let (hold, held) = watch::channel(0);
        let hold = Arc::new(hold);
        let hold_forever = move |_| {
            let held = Held::new(&hold);
            async move {
                let _held = held;
                std::future::pending().await
            }
        };
        router.register_raw("hold", hold_forever).unwrap();
        let raw = |mcp: Mcp| mcp.raw("echo", RawForm::Json).raw("hold", RawForm::Json);
        let quic = McpListener::new(quic, tls).max_sessions(1).mcp(raw);
        let http = HttpListener::new("127.0.0.1:0").mcp(raw);
        let builder = Server::builder(&router).expose(["billing", "echo", "hold"]);
        let handle = builder.listener("mcp", quic).listener("http", http).start().await?;
        Ok(Self { handle, shop, held, pin })
    }

    /// Returns the endpoint and the config of a row that leads to this server.
    pub(super) fn row(&self, transport: Transport) -> (String, String) {
        match transport {
            Transport::Quic => (
                self.handle.address("mcp").unwrap().to_owned(),
                format!(r#""pin_sha256":"{}""#, self.pin),
            ),
            Transport::Http => (
                format!("http://{}/mcp", self.handle.address("http").unwrap()),
                r#""drain_ms":30000"#.to_owned(),
            ),
        }
    }
}

/// Counts a call of `hold` while it is in flight.
struct Held(Arc<watch::Sender<usize>>);

impl Held {
    fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// The transport of MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Quic,
    Http,
}

pub(super) const TRANSPORTS: [Transport; 2] = [Transport::Quic, Transport::Http];

/// Waits until `count` calls of `hold` are in flight.
pub(super) async fn until_held(server: &TestServer, count: usize) {
    let mut held = server.held.clone();
    let held =
        tokio::time::timeout(Duration::from_secs(20), held.wait_for(|held| *held == count)).await;
    assert!(held.is_ok(), "{} are held, not {count}", *server.held.borrow());
}

/// Returns a router that may dial this machine.
fn client_router(routes: &MemoryRoutes) -> Router {
    let builder = Router::builder().transport("mcp", McpTransport::new().allow_internal());
    builder.source(routes.clone()).build().unwrap()
}

/// A router with a row that leads to a server, and its client.
pub(super) struct TestClient {
    pub(super) routes: MemoryRoutes,
    pub(super) router: Router,
    pub(super) billing: BillingClient,
}

impl TestClient {
    pub(super) async fn of(server: &TestServer, transport: Transport) -> Self {
        let (endpoint, config) = server.row(transport);
        let client = Self::to(&endpoint, &config).await;
        for raw in ["echo", "hold"] {
            client.set(raw, &endpoint, &format!(r#"{config},"tool_name":"{raw}""#)).await;
        }
        client
    }

    pub(super) async fn to(endpoint: &str, config: &str) -> Self {
        let routes = MemoryRoutes::new();
        let router = client_router(&routes);
        let client = Self { billing: BillingClient::new(&router), routes, router };
        client.set("billing", endpoint, config).await;
        client
    }

    /// Writes a row. It is in force when this returns.
    pub(super) async fn set(&self, name: &str, endpoint: &str, config: &str) {
        self.routes.set(name, "mcp", Some(endpoint), &format!("{{{config}}}"));
        self.router.reload().await.unwrap();
    }
}

/// Unwraps the framework's error.
pub(super) fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}
