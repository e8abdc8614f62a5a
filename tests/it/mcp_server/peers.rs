//! Which clients may call, and which peer an implementation sees.

use connectivity_core::{McpListener, MemoryRoutes, Server, Tls};
use serde_json::json;
use tests::certificates::*;
use tests::shop::*;

use super::client::*;

#[tokio::test]
async fn the_name_in_a_client_certificate_is_the_peer() {
    let (files, clients, strangers) = (Files::new(), ca("clients"), ca("strangers"));
    let server = start_server_with(&files, Some(&clients), |listener| listener).await;
    let agent = Identity::new(Some(&clients), "agent.internal", |_| {});
    let mut client = Client::connect_as(&server, &format!("MCP1{INITIALIZE}"), Some(&agent)).await;
    client.next().await;
    let seen = client.call("billing.seen", json!({})).await;
    assert_eq!(seen["result"]["structuredContent"]["peer"], "dns:agent.internal", "{seen}");
    let stranger = Identity::new(Some(&strangers), "agent.internal", |_| {});
    for identity in [None, Some(&stranger)] {
        // In TLS 1.3 the client completes its handshake before the server has verified its
        // certificate.
        let Ok(connection) = Client::dial(&server, "mcp-quic-v1", identity).await else { continue };
        assert!(connection.closed().await.to_string().contains("certificate"));
    }
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_rule() {
    let router = router(&MemoryRoutes::new());
    let tls = || Tls::self_signed(["localhost"]).unwrap();
    let start = |listener| Server::builder(&router).expose_all().listener("mcp", listener).start();
    let error = start(McpListener::new("0.0.0.0:0", tls())).await.unwrap_err().to_string();
    assert!(error.contains("open_to_everyone"), "{error}");
    assert!(start(McpListener::new("0.0.0.0:0", tls()).open_to_everyone()).await.is_ok());
}
