//! Rows that no call could use are bad rows, and the previous route stays in force.

use connectivity_core::{AdminError, MemoryRoutes, RouteSpec, RouteState, Router, Tls};
use tests::shop::*;

use super::harness::*;

/// Returns the reason why a row is bad, or `None` if it is in force.
fn bad_row_reason(router: &Router, name: &str) -> Option<String> {
    match router.inspect().route(name).unwrap().state.clone() {
        RouteState::Bad { why, .. } => Some(why),
        RouteState::InForce => None,
        state => panic!("{name}: {state:?}"),
    }
}

fn assert_refused(router: &Router, name: &str, expected: &str) {
    let why = bad_row_reason(router, name);
    assert!(why.as_ref().is_some_and(|why| why.contains(expected)), "{name}: {why:?}");
}

const NO_TOOL: &str = "config.tool_name: a raw service needs the name of its tool: set tool_name";

#[tokio::test]
async fn a_raw_service_that_is_registered_here_needs_the_name_of_its_tool() {
    let server = TestServer::start().await;
    let (endpoint, config) = server.row(Transport::Quic);
    let client = TestClient::to(&endpoint, &config).await;
    client.router.register_raw("echo", async |_| Ok("near".into())).unwrap();
    assert_eq!(client.router.call("echo", "{}").await.unwrap(), "near");
    client.set("echo", &endpoint, &config).await;
    assert_refused(&client.router, "echo", NO_TOOL);
    assert_eq!(
        client.router.call("echo", "{}").await.unwrap(),
        "near",
        "the route before it stays"
    );
    client.set("echo", &endpoint, &format!(r#"{config},"tool_name":"echo""#)).await;
    assert_eq!(bad_row_reason(&client.router, "echo"), None);
    assert_eq!(client.router.call("echo", r#"{"x":1}"#).await.unwrap(), r#"{"x":1}"#);
}

#[tokio::test]
async fn a_raw_service_that_is_only_called_here_needs_it_too() {
    let server = TestServer::start().await;
    let (endpoint, config) = server.row(Transport::Quic);
    let client = TestClient::of(&server, Transport::Quic).await;
    client.set("hold", &endpoint, &config).await;
    assert_eq!(
        bad_row_reason(&client.router, "hold"),
        None,
        "nothing says yet what is called by this name"
    );
    assert!(client.router.call("echo", "{}").await.is_ok());
    client.set("echo", &endpoint, &config).await;
    assert_refused(&client.router, "echo", NO_TOOL);
    assert!(client.router.call("echo", "{}").await.is_ok(), "the route before it stays");
}

#[tokio::test]
async fn a_row_is_looked_at_again_when_its_service_is_registered() {
    let client = TestClient::to("localhost:1", "").await;
    client.set("till", "localhost:1", "").await;
    assert_eq!(bad_row_reason(&client.router, "till"), None);
    client.router.register_raw("till", async |bytes| Ok(bytes)).unwrap();
    assert_refused(&client.router, "till", NO_TOOL);
    client.router.reload().await.unwrap();
    assert_refused(&client.router, "till", NO_TOOL);
}

#[tokio::test]
async fn a_row_of_a_service_names_no_tool() {
    let server = TestServer::start().await;
    for transport in TRANSPORTS {
        let (endpoint, config) = server.row(transport);
        let client = TestClient::of(&server, transport).await;
        client.set("billing", &endpoint, &format!(r#"{config},"tool_name":"echo""#)).await;
        assert_refused(&client.router, "billing", "config.tool_name: it names one tool");
        assert_eq!(
            client.billing.quote("abcd").await.unwrap(),
            4,
            "{transport:?}: the route before it stays"
        );
        client.set("billing.charge", &endpoint, &format!(r#"{config},"tool_name":"echo""#)).await;
        assert_eq!(bad_row_reason(&client.router, "billing.charge"), None, "a method has one tool");
    }
}

#[tokio::test]
async fn a_name_on_the_other_side_fits_all_methods() {
    let routes = MemoryRoutes::new();
    let router = router(&routes);
    let _client = BillingClient::new(&router);
    let long = "x".repeat(250);
    let pin = Tls::self_signed(["localhost"]).unwrap().pin_sha256();
    for (strategy, endpoint, keys) in [
        ("quic", "localhost:1", format!(r#","pin_sha256":"{pin}""#)),
        ("mcp", "localhost:1", format!(r#","pin_sha256":"{pin}""#)),
        ("unix", "/run/far.sock", String::new()),
    ] {
        routes.set(
            "billing",
            strategy,
            Some(endpoint),
            &format!(r#"{{"remote_name":"far"{keys}}}"#),
        );
        router.reload().await.unwrap();
        assert_eq!(bad_row_reason(&router, "billing"), None, "{strategy}");
        routes.set(
            "billing",
            strategy,
            Some(endpoint),
            &format!(r#"{{"remote_name":"{long}"{keys}}}"#),
        );
        router.reload().await.unwrap();
        assert_refused(&router, "billing", "config.remote_name: ");
    }
}

#[tokio::test]
async fn the_admin_of_a_router_refuses_what_its_calls_cannot_go_by() {
    let dir = tempfile::tempdir().unwrap();
    let router = Router::open_or_create(dir.path().join("routes.db")).await.unwrap();
    router.register_raw("till", async |bytes| Ok(bytes)).unwrap();
    let (admin, spec) =
        (router.admin().unwrap(), RouteSpec::new("till", "mcp").endpoint("localhost:1"));
    let error = admin.upsert(spec.clone()).await.unwrap_err();
    assert!(matches!(&error, AdminError::Invalid(_)) && error.to_string() == NO_TOOL, "{error:?}");
    assert!(admin.upsert(spec.config(r#"{"tool_name":"till"}"#)).await.is_ok());
    assert_eq!(bad_row_reason(&router, "till"), None);
}

#[tokio::test]
async fn a_row_that_cannot_be_right_is_bad() {
    let routes = MemoryRoutes::new();
    let router = Router::builder().source(routes.clone()).build().unwrap();
    for (endpoint, config, expected) in [
        (None, "{}", "needs one"),
        (Some("10.0.0.5"), "{}", "10.0.0.5:4433"),
        (Some("http://127.0.0.1:8080/mcp"), "{}", "address guard refuses 127.0.0.1"),
        (Some("https://10.0.0.1/mcp"), "{}", "address guard refuses 10.0.0.1"),
        (Some("ftp://example.com/mcp"), "{}", "neither http nor https"),
        (Some("http://example.com/mcp"), r#"{"insecure_tls":true}"#, "plain http"),
        (
            Some("https://example.com/mcp"),
            r#"{"headers":{"Mcp-Session-Id":"x"}}"#,
            "the protocol's own",
        ),
        (Some("example.com:4434"), r#"{"headers":{"authorization":"x"}}"#, "write a URL"),
        (Some("example.com:4434"), r#"{"ca_file":"/no/such/file"}"#, "/no/such/file"),
    ] {
        routes.set("billing", "mcp", endpoint, config);
        router.reload().await.unwrap();
        let route = router.inspect().route("billing").cloned().unwrap();
        assert!(
            matches!(&route.state, RouteState::Bad { .. })
                && format!("{route:?}").contains(expected),
            "{expected}: {route:?}"
        );
    }
}
