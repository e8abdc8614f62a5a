//! An MCP server over QUIC that sends exactly the bytes that a test scripts.

use std::sync::Arc;

use connectivity_core::BoxFuture;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tests::certificates::*;

/// How the Go original's server answers `server/discover`: it does not know the method, and its
/// error carries no id.
pub(super) const NO_DISCOVERY: &str = r#""error":{"code":0,"message":"method \"server/discover\" is invalid during session initialization"}}"#;
pub(super) const INITIALIZE_RESULT: &str = concat!(
    r#""result":{"capabilities":{"logging":{},"tools":{"listChanged":true}},"protocolVersion":"2025-11-25","#,
    r#""serverInfo":{"name":"horos-mcp","version":"1.0.0"}}}"#
);

/// The script of one session.
pub(super) type Script = fn(Wire) -> BoxFuture<'static, ()>;

/// A server that runs one script per connection.
pub(super) struct ScriptedServer {
    endpoint: Endpoint,
    pin: String,
}

impl ScriptedServer {
    pub(super) fn start(script: Script) -> Self {
        let identity = Identity::new(None, "localhost", |_| {});
        let endpoint = listen(&identity, b"mcp-quic-v1");
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(async move {
                    let Ok(connection) = incoming.await else { return };
                    if let Some(wire) = Wire::accept(connection).await {
                        script(wire).await;
                    }
                });
            }
        });
        Self { endpoint, pin: pin_of(&identity) }
    }

    pub(super) fn address(&self) -> String {
        self.endpoint.local_addr().unwrap().to_string()
    }

    /// Returns the config keys of a row that trusts this server.
    pub(super) fn trust(&self) -> String {
        format!(r#""pin_sha256":"{}""#, self.pin)
    }
}

/// Listens with this certificate.
pub(super) fn listen(identity: &Identity, alpn: &[u8]) -> Endpoint {
    let cert = CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config =
        config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![cert], key).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()));
    Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// The server side of one session.
pub(super) struct Wire {
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    receive: RecvStream,
    buffer: Vec<u8>,
}

impl Wire {
    async fn accept(connection: Connection) -> Option<Self> {
        let (send, mut receive) = connection.accept_bi().await.ok()?;
        let mut magic = [0; 4];
        receive.read_exact(&mut magic).await.ok()?;
        assert_eq!(&magic, b"MCP1");
        Some(Self { connection, send, receive, buffer: Vec::new() })
    }

    /// Reads the next line, or `None` if the client has gone.
    pub(super) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let mut piece = [0; 4096];
            let read = self.receive.read(&mut piece).await.ok()??;
            self.buffer.extend_from_slice(&piece[..read]);
        }
    }

    /// Reads the next message, or `Null` if the client has gone.
    pub(super) async fn next(&mut self) -> Value {
        self.line().await.map_or(Value::Null, |line| serde_json::from_str(&line).unwrap())
    }

    /// Sends bytes. Ignores errors, because the client may have gone.
    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.send.write_all(bytes.as_ref()).await;
    }

    /// Reads the next request and replies. `rest` is the reply after its id.
    pub(super) async fn reply_to_next(&mut self, rest: &str) -> Value {
        let request = self.next().await;
        self.write(format!("{}\n", reply(&request, rest))).await;
        request
    }

    /// Performs the handshake as the original's server does.
    pub(super) async fn handshake(&mut self) {
        self.handshake_with(INITIALIZE_RESULT).await;
    }

    /// Performs the handshake as a server of this framework does, and reads the first call.
    pub(super) async fn first_call_as_ours(&mut self) -> Value {
        self.handshake_with(
            &INITIALIZE_RESULT.replace(r#""logging":{}"#, r#""experimental":{"connectivity":{}}"#),
        )
        .await;
        self.next().await
    }

    async fn handshake_with(&mut self, hello: &str) {
        assert_eq!(self.reply_to_next(NO_DISCOVERY).await["method"], "server/discover");
        assert_eq!(self.reply_to_next(hello).await["method"], "initialize");
        assert_eq!(self.next().await["method"], "notifications/initialized");
    }

    /// Performs the handshake and reads the first call.
    pub(super) async fn first_call(&mut self) -> Value {
        self.handshake().await;
        self.next().await
    }

    /// Keeps the session open until the client closes it.
    pub(super) async fn wait_closed(self) {
        self.connection.closed().await;
    }
}

/// Formats a reply. `rest` is what follows the id.
pub(super) fn reply(request: &Value, rest: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},{rest}"#, request["id"])
}

/// A result whose structured content is an object.
pub(super) const FINE: &str = r#""result":{"content":[],"structuredContent":{"fine":true}}}"#;
