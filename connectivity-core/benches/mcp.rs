//! Cost of a tool call over a row with strategy `mcp`, compared with bare rmcp over the same kind
//! of stream.
//!
//! Run with `cargo bench -p connectivity-core --features mcp --bench mcp`. Both sides use one
//! stream of one quinn connection to a server with its own runtime. Callers run on the runtime of
//! `#[tokio::main]`. Our side has everything that a user has: a typed method, a router, a deadline,
//! schemas. Bare rmcp uses the default handshake of its client and echoes the arguments. The two
//! run in alternating rounds, and a ratio is the median of the ratios of the rounds.
#![allow(missing_docs, unreachable_pub, reason = "a program of its own")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and may panic")]

#[path = "wire/apart.rs"]
mod apart;
#[allow(dead_code, reason = "another benchmark uses the rest")]
#[path = "wire/load.rs"]
mod load;
#[allow(dead_code, reason = "another benchmark uses the rest")]
#[path = "wire/table.rs"]
mod table;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apart::on_own_runtime;
use connectivity_core::{Error, MemoryRoutes, Router, Server, Tls, register, service};
use load::{Echo, Measured, load};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, JsonObject,
    ServerCapabilities,
};
use rmcp::service::{Peer, RequestContext, RunningService};
use rmcp::{RoleClient, RoleServer, ServerHandler, ServiceExt};
use rustls::RootCertStore;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use table::Target::{AtMost, None};

/// The duration of one side of one round.
const ROUND: Duration = Duration::from_millis(500);

const ROUNDS: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Words([u64; 4]);

const WORDS: Words = Words([u64::MAX; 4]);

#[service]
trait Billing {
    /// Returns its argument.
    async fn echo(&self, words: Words) -> Result<Words, Error>;
}

struct Shop;

impl Billing for Shop {
    async fn echo(&self, words: Words) -> Result<Words, Error> {
        Ok(words)
    }
}

#[derive(Clone)]
struct Typed(BillingClient);

impl Echo for Typed {
    async fn echo(&self) {
        assert_eq!(self.0.echo(WORDS).await.unwrap(), WORDS);
    }
}

/// Starts our server and returns a client whose row leads to it.
fn ours() -> (Router, Typed) {
    let (address, pin) = on_own_runtime(async || {
        let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
        register!(router, Billing => Shop).unwrap();
        let tls = Tls::self_signed(["localhost"]).unwrap();
        let pin = tls.pin_sha256();
        let server = Server::builder(&router)
            .expose(["billing"])
            .mcp("127.0.0.1:0", tls)
            .start()
            .await
            .unwrap();
        let address = server.address("mcp").unwrap().to_owned();
        std::mem::forget(server);
        (address, pin)
    });
    let routes = MemoryRoutes::new();
    routes.set("billing", "mcp", Some(&address), &format!(r#"{{"pin_sha256":"{pin}"}}"#));
    let router = Router::builder().source(routes).build().unwrap();
    let client = BillingClient::new(&router);
    (router, Typed(client))
}

/// An echo server of bare rmcp.
struct Bare;

impl ServerHandler for Bare {
    fn get_info(&self) -> rmcp::model::ServerConfig {
        rmcp::model::ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        _request: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(CallToolResult::structured(Value::Object(params.arguments.unwrap_or_default())).into())
    }
}

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Serves rmcp on the first stream of each connection. Returns the address and the trusted roots.
async fn serve_bare() -> (SocketAddr, RootCertStore) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::with_single_cert(vec![cert.der().clone()], key.into()).unwrap();
    let endpoint = Endpoint::server(config, LOCAL).unwrap();
    let address = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await.unwrap();
                let (writer, reader) = connection.accept_bi().await.unwrap();
                let _ = Bare.serve((reader, writer)).await.unwrap().waiting().await;
            });
        }
    });
    (address, roots)
}

#[derive(Clone)]
struct Session(Peer<RoleClient>, JsonObject);

impl Echo for Session {
    async fn echo(&self) {
        let params = CallToolRequestParams::new("billing.echo").with_arguments(self.1.clone());
        let result = self.0.call_tool(params).await.unwrap();
        assert_eq!(result.structured_content.unwrap()["words"][0], u64::MAX);
    }
}

async fn bare() -> (Endpoint, RunningService<RoleClient, ()>, Session) {
    let (address, roots) = on_own_runtime(serve_bare);
    let mut endpoint = Endpoint::client(LOCAL).unwrap();
    endpoint
        .set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots)).unwrap());
    let connection = endpoint.connect(address, "localhost").unwrap().await.unwrap();
    let (writer, reader) = connection.open_bi().await.unwrap();
    let running = ().serve((reader, writer)).await.unwrap();
    let Value::Object(arguments) = json!({ "words": WORDS }) else { unreachable!() };
    let session = Session(running.peer().clone(), arguments);
    (endpoint, running, session)
}

async fn alternate(
    ours: &Typed,
    bare: &Session,
    callers: usize,
    figure: fn(&Measured) -> f64,
) -> Vec<(f64, f64)> {
    load(ours, callers, ROUND).await;
    load(bare, callers, ROUND).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let ours = load(ours, callers, ROUND).await;
        rounds.push((figure(&ours), figure(&load(bare, callers, ROUND).await)));
    }
    rounds
}

#[tokio::main]
async fn main() {
    let (_router, ours) = ours();
    let (_endpoint, _running, bare) = bare().await;
    table::head();
    let rounds = alternate(&ours, &bare, 1, Measured::p50_us).await;
    table::row("mcp over QUIC, 1 in flight: p50, to bare rmcp", "us", &rounds, AtMost(1.4));
    let rounds = alternate(&ours, &bare, 64, |measured| measured.per_second / 1e3).await;
    table::row("mcp over QUIC, 64 in flight: rate, to bare rmcp", "k/s", &rounds, None);
}
