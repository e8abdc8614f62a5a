//! The address guard of strategy `http`. Canary listeners on this machine count connections,
//! because an error text alone proves nothing.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use connectivity_core::{
    ErrorKind, HttpTransport, McpTransport, MemoryRoutes, RouteState, Router, Sent,
};

/// Listeners on both loopback addresses, on one port. No client may connect.
struct Canaries {
    listeners: Vec<TcpListener>,
    port: u16,
}

impl Canaries {
    fn new() -> Self {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = first.local_addr().unwrap().port();
            let Ok(second) = TcpListener::bind(("::1", port)) else { continue };
            let listeners = vec![first, second];
            listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
            return Self { listeners, port };
        }
    }

    fn hits(&self) -> usize {
        self.listeners
            .iter()
            .map(|listener| std::iter::from_fn(|| listener.accept().ok()).count())
            .sum()
    }
}

fn client_router(http: HttpTransport, endpoint: &str) -> Router {
    let routes = MemoryRoutes::new();
    routes.set("thumb", "http", Some(endpoint), "{}");
    Router::builder().source(routes).transport("http", http).build().unwrap()
}

#[test]
fn canaries_count() {
    let canaries = Canaries::new();
    for address in ["127.0.0.1", "::1"] {
        TcpStream::connect((address, canaries.port)).unwrap();
    }
    assert_eq!(canaries.hits(), 2);
    assert_eq!(canaries.hits(), 0);
}

#[tokio::test]
async fn no_spelling_of_this_machine_is_reached_and_each_says_why() {
    let canaries = Canaries::new();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "0.0.0.0",
        "0",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:0.0.0.0]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "user@127.0.0.1",
        "user:pw@localhost",
        "example.com@127.0.0.1",
        "127.0.0.1\\@example.com",
        "127.0.0.1\t",
        "\r\n127.0.0.1",
    ] {
        let router =
            client_router(HttpTransport::new(), &format!("http://{host}:{}/thumb", canaries.port));
        let state = router.inspect().route("thumb").unwrap().state.clone();
        assert!(
            matches!(state, RouteState::Bad { ref why, .. } if why.starts_with("endpoint: ")),
            "{host}: {state:?}"
        );
        let error = router.call("thumb", "x").await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::RouteInvalid, Sent::No), "{host}");
    }
    for scheme in ["file", "ftp", "gopher", "ws", "unix", "data", "javascript"] {
        let router = client_router(
            HttpTransport::new(),
            &format!("{scheme}://127.0.0.1:{}/thumb", canaries.port),
        );
        assert_eq!(
            router.call("thumb", "x").await.unwrap_err().kind(),
            ErrorKind::RouteInvalid,
            "{scheme}"
        );
    }
    assert_eq!(canaries.hits(), 0);
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_is_an_error_of_the_call() {
    let router = client_router(HttpTransport::new(), "http://nobody.invalid/thumb");
    assert_eq!(
        router.inspect().route("thumb").unwrap().state,
        RouteState::InForce,
        "nothing is looked up for a row"
    );
    let error = router.call("thumb", "x").await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No), "{error}");
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let canaries = Canaries::new();
    let location = format!("http://127.0.0.1:{}/", canaries.port);
    let mut app = axum::Router::new();
    for status in [301, 302, 303, 307, 308] {
        let response = (StatusCode::from_u16(status).unwrap(), [(LOCATION, location.clone())]);
        app = app.route(
            &format!("/{status}"),
            axum::routing::post(move || std::future::ready(response.clone())),
        );
    }
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, app).await });
    for status in [301, 302, 303, 307, 308] {
        // A redirect is not followed even if the guard allows its target.
        let router = client_router(
            HttpTransport::new().allow_internal(),
            &format!("http://{address}/{status}"),
        );
        let error = router.call("thumb", "x").await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Remote && error.message().contains(&status.to_string()),
            "{error}"
        );
    }
    assert_eq!(canaries.hits(), 0);
}

const PROXY_TEST: &str = "CONNECTIVITY_TEST_ENDPOINT";

/// Runs this test again in a child process whose environment names a proxy.
#[tokio::test]
async fn a_proxy_in_the_environment_is_ignored() {
    if let Ok(endpoint) = std::env::var(PROXY_TEST) {
        let router = client_router(HttpTransport::new().allow_internal(), &endpoint);
        assert_eq!(router.call("thumb", "x").await.unwrap(), "direct");
        return;
    }
    let app = axum::Router::new().route("/thumb", axum::routing::post(|| async { "direct" }));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/thumb", socket.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(socket, app).await });
    let canaries = Canaries::new();
    let proxy = format!("http://127.0.0.1:{}", canaries.port);
    let mut child = child("guard::a_proxy_in_the_environment_is_ignored");
    child.env(PROXY_TEST, endpoint);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        child.env(name, &proxy);
    }
    child.env_remove("no_proxy").env_remove("NO_PROXY");
    passes(child).await;
    assert_eq!(canaries.hits(), 0);
}

/// Returns a command that runs one test of this program.
fn child(test: &str) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test]);
    child
}

async fn passes(mut child: Command) {
    let child = tokio::task::spawn_blocking(move || child.output());
    let output =
        tokio::time::timeout(Duration::from_secs(60), child).await.unwrap().unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

const OPEN_TEST: &str = "CONNECTIVITY_TEST_OPEN";

/// Runs this test again in child processes whose environment opens internal networks, or does not.
#[tokio::test]
async fn the_environment_opens_internal_networks_for_default_transports() {
    const ALLOW_INTERNAL: &str = "CONNECTIVITY_ALLOW_INTERNAL";
    if let Ok(expected) = std::env::var(OPEN_TEST) {
        for (strategy, endpoint) in
            [("http", "http://127.0.0.1:1/thumb"), ("mcp", "http://127.0.0.1:1/mcp")]
        {
            let config = if strategy == "mcp" { r#"{"tool_name":"thumb"}"# } else { "{}" };
            let is_open = |router: &Router| match &router.inspect().route("thumb").unwrap().state {
                RouteState::InForce => true,
                state => {
                    assert!(format!("{state:?}").contains(ALLOW_INTERNAL), "{state:?}");
                    false
                }
            };
            let routes = MemoryRoutes::new();
            routes.set("thumb", strategy, Some(endpoint), config);
            let router = Router::builder().source(routes.clone()).build().unwrap();
            assert_eq!(is_open(&router).to_string(), expected, "{strategy}");
            // A transport that the application made is as open as the application made it.
            let router = Router::builder()
                .source(routes)
                .transport("http", HttpTransport::new())
                .transport("mcp", McpTransport::new())
                .build()
                .unwrap();
            assert!(!is_open(&router), "{strategy}");
        }
        return;
    }
    for (value, is_open) in
        [(None, false), (Some("0"), false), (Some("yes"), false), (Some("1"), true)]
    {
        let mut child =
            child("guard::the_environment_opens_internal_networks_for_default_transports");
        child.env_remove(ALLOW_INTERNAL).env(OPEN_TEST, is_open.to_string());
        child.envs(value.map(|value| (ALLOW_INTERNAL, value)));
        passes(child).await;
    }
}
