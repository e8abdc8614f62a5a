//! An MCP client over QUIC that sends exactly the bytes that a test writes, and a server for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connectivity_core::{McpListener, MemoryRoutes, RawForm, Router, Server, Tls, register};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tests::certificates::*;
use tests::shop::*;

/// The first message of the Go original's client.
pub(super) const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"roots":{"listChanged":true}},"#,
    r#""clientInfo":{"name":"horos-quic-client","version":"1.0.0"},"protocolVersion":"2025-06-18"}}"#,
    "\n"
);
pub(super) const INITIALIZED: &str =
    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\",\"params\":{}}\n";

/// An MCP server behind a real port.
pub(super) struct TestServer {
    pub(super) handle: Server,
    pub(super) router: Router,
    pub(super) routes: MemoryRoutes,
    pub(super) shop: Shop,
    pub(super) address: SocketAddr,
    pub(super) identity: Identity,
}

pub(super) async fn start_server() -> TestServer {
    start_server_with(&Files::new(), None, |listener| listener).await
}

pub(super) async fn start_server_with(
    files: &Files,
    clients: Option<&Ca>,
    configure: impl FnOnce(McpListener) -> McpListener,
) -> TestServer {
    let identity = Identity::new(None, "localhost", |_| {});
    let (cert, key) =
        (files.write("server.pem", &identity.cert), files.write("server.key", &identity.key));
    let tls = Tls::from_pem(cert, key).unwrap();
    let tls = match clients {
        Some(clients) => tls.client_ca(files.write("clients.pem", &clients.pem())).unwrap(),
        None => tls,
    };
    let routes = MemoryRoutes::new();
    let (router, shop) = (router(&routes), Shop::at("far"));
    register!(router, Billing => shop.clone()).unwrap();
    for raw in ["echo", "bytes", "unlisted"] {
        router.register_raw(raw, async |bytes| Ok(bytes)).unwrap();
    }
    let listener = McpListener::new("127.0.0.1:0", tls).mcp(|mcp| {
        mcp.raw("echo", RawForm::Json)
            .raw("bytes", RawForm::Bytes)
            .raw("late", RawForm::Bytes)
            .max_message_bytes(1 << 20)
    });
    let builder = Server::builder(&router).expose(["billing", "echo", "bytes", "unlisted", "late"]);
    let handle = builder.listener("mcp", configure(listener)).start().await.unwrap();
    let address = handle.address("mcp").unwrap().parse().unwrap();
    TestServer { handle, router, routes, shop, address, identity }
}

/// One connection with one stream.
pub(super) struct Client {
    _endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) receive: RecvStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) async fn dial(
        server: &TestServer,
        alpn: &str,
        identity: Option<&Identity>,
    ) -> Result<Connection, String> {
        let (_endpoint, connection) = dial(server, alpn, identity).await?;
        Ok(connection)
    }

    /// Connects and opens a stream with these bytes.
    pub(super) async fn connect(server: &TestServer, bytes: &str) -> Self {
        Self::connect_as(server, bytes, None).await
    }

    pub(super) async fn connect_as(
        server: &TestServer,
        bytes: &str,
        identity: Option<&Identity>,
    ) -> Self {
        let (endpoint, connection) = dial(server, "mcp-quic-v1", identity).await.unwrap();
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes.as_bytes()).await.unwrap();
        Self { _endpoint: endpoint, connection, send, receive, buffer: Vec::new() }
    }

    /// Opens a session with the handshake of the original's client.
    pub(super) async fn open(server: &TestServer) -> Self {
        let mut client = Self::connect(server, &format!("MCP1{INITIALIZE}{INITIALIZED}")).await;
        let hello = client.next().await;
        assert_eq!(hello["result"]["protocolVersion"], "2025-06-18", "{hello}");
        client
    }

    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.send.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads the next message: one line.
    pub(super) async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(20), self.line())
            .await
            .unwrap()
            .expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|cause| panic!("{cause}: {line}"))
    }

    pub(super) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let mut piece = [0; 4096];
            match self.receive.read(&mut piece).await {
                Ok(Some(read)) => self.buffer.extend_from_slice(&piece[..read]),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    pub(super) async fn request(
        &mut self,
        id: impl Into<Value>,
        method: &str,
        params: Value,
    ) -> Value {
        let request =
            json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params });
        self.write(format!("{request}\n")).await;
        self.next().await
    }

    pub(super) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request(7, "tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// Asserts that the session still answers calls.
    pub(super) async fn assert_alive(&mut self, after: &str) {
        let response = self
            .request(
                "alive",
                "tools/call",
                json!({ "name": "billing.quote", "arguments": { "order": "abc" } }),
            )
            .await;
        assert_eq!(response["id"], "alive", "after {after}: {response}");
        assert_eq!(
            response["result"]["structuredContent"],
            json!({ "result": 3 }),
            "after {after}: {response}"
        );
    }
}

async fn dial(
    server: &TestServer,
    alpn: &str,
    identity: Option<&Identity>,
) -> Result<(Endpoint, Connection), String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.identity.cert.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(Identity { cert, key }) => {
            let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
            config
                .with_client_auth_cert(
                    vec![cert],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(
        QuicClientConfig::try_from(config).unwrap(),
    )));
    let connecting = endpoint.connect(server.address, "localhost").unwrap();
    let connection = connecting.await.map_err(|cause| cause.to_string())?;
    Ok((endpoint, connection))
}
