//! QUIC handshakes that clients start and never finish.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use connectivity_core::{
    McpListener, McpTransport, MemoryRoutes, QuicListener, RawForm, Router, Server, Tls,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use tests::certificates::*;
use tokio::net::UdpSocket;

/// Timeout for anything that is expected to succeed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// More handshakes than a server allows in progress.
const HANDSHAKES: usize = 1100;

/// Returns the config of a client without a certificate and without trusted roots.
fn stranger(alpn: &[u8]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let mut config =
        config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}

/// Returns the type of a packet with a long header (RFC 9000, 17.2).
fn packet_type(datagram: &[u8]) -> Option<u8> {
    datagram.first().filter(|byte| **byte & 0x80 != 0).map(|byte| (byte >> 4) & 3)
}

const INITIAL: u8 = 0;
const RETRY: u8 = 3;

/// Starts `HANDSHAKES` handshakes from one address and leaves them unfinished. A relay forwards
/// only Initial packets to the server and only Retry packets (address validation) to the client.
/// Returns once the server has answered all of them.
async fn leave_unfinished(server: &str, alpn: &[u8]) -> impl Sized + use<> {
    let (client_side, server_side) = (
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    );
    server_side.connect(server).await.unwrap();
    let address = client_side.local_addr().unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = endpoint.local_addr().unwrap();
    let (answered, mut answered_count) = tokio::sync::watch::channel(0);
    let relay = tokio::spawn(async move {
        let (mut outgoing, mut incoming, mut ids) = ([0; 2048], [0; 2048], HashSet::new());
        loop {
            tokio::select! {
                read = client_side.recv(&mut outgoing) => {
                    let datagram = &outgoing[..read.unwrap()];
                    if packet_type(datagram) == Some(INITIAL) {
                        let _ = server_side.send(datagram).await;
                    }
                }
                read = server_side.recv(&mut incoming) => {
                    let Ok(read) = read else { continue };
                    let datagram = &incoming[..read];
                    match packet_type(datagram) {
                        Some(RETRY) => drop(client_side.send_to(datagram, client).await),
                        Some(_) => {
                            let length = usize::from(datagram[5]);
                            if ids.insert(datagram[6..6 + length].to_vec()) {
                                answered.send_modify(|count| *count += 1);
                            }
                        }
                        None => {}
                    }
                }
            }
        }
    });
    let mut connecting = Vec::new();
    for count in 1..=HANDSHAKES {
        connecting.push(endpoint.connect_with(stranger(alpn), address, "localhost").unwrap());
        // Limit the handshakes in flight to what a socket buffer holds.
        let caught_up = answered_count.wait_for(|answered| *answered + 32 >= count);
        tokio::time::timeout(TIMEOUT, caught_up).await.expect("the server answers").unwrap();
    }
    tokio::time::timeout(TIMEOUT, answered_count.wait_for(|count| *count == HANDSHAKES))
        .await
        .unwrap()
        .unwrap();
    (connecting, endpoint, relay)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_are_left_unfinished_keep_no_good_client_out() {
    let (files, authority) = (Files::new(), ca("ours"));
    let identity = Identity::new(Some(&authority), "127.0.0.1", |_| {});
    let (cert, key) =
        (files.write("server.pem", &identity.cert), files.write("server.key", &identity.key));
    let tls = Tls::from_pem(cert, key)
        .unwrap()
        .client_ca(files.write("ca.pem", &authority.pem()))
        .unwrap();
    let server_router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    server_router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let mcp =
        McpListener::new("127.0.0.1:0", tls.clone()).mcp(|mcp| mcp.raw("echo", RawForm::Json));
    let builder = Server::builder(&server_router).expose(["echo"]).listener("mcp", mcp);
    let server =
        builder.listener("quic", QuicListener::new("127.0.0.1:0", tls)).start().await.unwrap();
    let client_identity =
        files.client_identity(&Identity::new(Some(&authority), "orders.internal", |_| {}));
    let ca_file = files.write("ca.pem", &authority.pem());
    for (strategy, alpn, keys) in
        [("quic", "connectivity/1", ""), ("mcp", "mcp-quic-v1", r#","tool_name":"echo""#)]
    {
        let address = server.address(strategy).unwrap();
        let _unfinished = leave_unfinished(address, alpn.as_bytes()).await;
        let routes = MemoryRoutes::new();
        let config =
            format!(r#"{{"timeout_ms":2000,"ca_file":{ca_file:?},{client_identity}{keys}}}"#);
        routes.set("echo", strategy, Some(address), &config);
        let builder = Router::builder().source(routes).transport("mcp", McpTransport::new());
        let client = builder.build().unwrap();
        assert_eq!(client.call("echo", r#"{"a":1}"#).await.unwrap(), r#"{"a":1}"#, "{strategy}");
    }
}
