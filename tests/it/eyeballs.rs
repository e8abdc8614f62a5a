//! A host name with two addresses, the first of which never answers: the client tries the second
//! address after a short delay, and dials it first from then on (Happy Eyeballs).
//!
//! The name is in a `hosts` file that only a child process sees, in its own mount namespace.

use std::io::ErrorKind::{AddrInUse, WouldBlock};
use std::io::Write;
use std::net::{Ipv6Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use connectivity_core::{
    HttpTransport, McpListener, MemoryRoutes, Router, ServeError, Server, Tls, register,
};
use tests::shop::*;

const NAME: &str = "silent-first.test";

/// Set in the child process, where the host name resolves.
const INSIDE: &str = "CONNECTIVITY_TESTS_INSIDE";

/// Maximum number of redials. On a busy machine a redial can be slow enough for the second address
/// to be tried as well. A client that forgets which address it reached starts every redial with the
/// silent one.
const REDIALS: usize = 20;

#[tokio::test]
async fn a_silent_first_address_of_a_name_is_passed_by_and_what_was_reached_is_dialled_first() {
    if std::env::var_os(INSIDE).is_none() {
        return run_in_child();
    }
    let found: Vec<_> = tokio::net::lookup_host((NAME, 0)).await.unwrap().collect();
    assert!(found.len() == 2 && found[0].is_ipv6() && found[1].is_ipv4(), "{found:?}");
    for strategy in ["quic", "mcp"] {
        check_over_udp(strategy).await;
    }
    check_over_http().await;
}

/// Runs the test in a child process with its own `/etc/hosts`.
fn run_in_child() {
    let unshare_command = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--mount", "sh", "-ec", command, "sh"]);
        unshare
    };
    let mut hosts = tempfile::NamedTempFile::new().unwrap();
    writeln!(hosts, "::1 {NAME}\n127.0.0.1 {NAME}").unwrap();
    let mount_output =
        unshare_command(r#"mount --bind "$1" /etc/hosts"#).arg(hosts.path()).output();
    if !mount_output.is_ok_and(|output| output.status.success()) {
        eprintln!("this system lets nobody have a `hosts` file of their own: nothing was tested");
        return;
    }
    let mut child =
        unshare_command(r#"mount --bind "$1" /etc/hosts; exec "$2" --exact --nocapture "$3""#);
    let name = std::thread::current().name().unwrap().to_owned();
    child.arg(hosts.path()).arg(std::env::current_exe().unwrap()).arg(name).env(INSIDE, "1");
    let output = child.output().unwrap();
    let output_text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(
        output.status.success() && output_text[0].contains("1 passed"),
        "{}{}",
        output_text[0],
        output_text[1]
    );
}

async fn serve(router: &Router, strategy: &str, address: &str) -> Result<Server, ServeError> {
    let (builder, tls) =
        (Server::builder(router).expose(["billing"]), || Tls::self_signed([NAME]).unwrap());
    let builder = match strategy {
        "quic" => builder.quic(address, tls()),
        "mcp" => builder.listener("mcp", McpListener::new(address, tls())),
        _ => builder.http(address),
    };
    builder.start().await
}

/// A server that can be restarted on its port, and a client that reaches it by host name.
struct World {
    strategy: &'static str,
    server_router: Router,
    server: Option<Server>,
    port: u16,
    _client_router: Router,
    billing: BillingClient,
}

impl World {
    async fn new(strategy: &'static str, endpoint: impl Fn(u16) -> String, config: &str) -> Self {
        let server_router = router(&MemoryRoutes::new());
        register!(server_router, Billing => Shop::at("far")).unwrap();
        let server = serve(&server_router, strategy, "127.0.0.1:0").await.unwrap();
        let port = server.address(strategy).unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        let routes = MemoryRoutes::new();
        routes.set("billing", strategy, Some(&endpoint(port)), config);
        let http = HttpTransport::new().allow_internal();
        let client_router =
            Router::builder().source(routes).transport("http", http).build().unwrap();
        let billing = BillingClient::new(&client_router);
        Self {
            strategy,
            server_router,
            server: Some(server),
            port,
            _client_router: client_router,
            billing,
        }
    }

    /// Breaks all connections. Does not drain: a client that dials meanwhile would be refused, and
    /// would try the other address.
    async fn restart(&mut self) {
        self.server.take().unwrap().shutdown(Duration::ZERO).await;
        let address = format!("127.0.0.1:{}", self.port);
        self.server = Some(serve(&self.server_router, self.strategy, &address).await.unwrap());
    }

    async fn calls(&self) {
        assert_eq!(self.billing.quote("abc").await, Ok(3), "{}", self.strategy);
    }
}

/// Binds a socket at the first address that never answers. Returns `None` if the port is taken.
fn silent_socket(port: u16) -> Option<UdpSocket> {
    let socket = match UdpSocket::bind((Ipv6Addr::LOCALHOST, port)) {
        Err(cause) if cause.kind() == AddrInUse => return None,
        bound => bound.unwrap(),
    };
    socket.set_nonblocking(true).unwrap();
    Some(socket)
}

/// Drains the socket and returns the number of packets received.
fn drain_packets(silent_socket: &UdpSocket) -> usize {
    let mut count = 0;
    loop {
        match silent_socket.recv_from(&mut [0; 2048]) {
            Ok(_) => count += 1,
            Err(cause) => {
                assert_eq!(cause.kind(), WouldBlock);
                return count;
            }
        }
    }
}

async fn check_over_udp(strategy: &'static str) {
    let (mut world, silent_socket) = loop {
        let config = r#"{"insecure_tls":true}"#;
        let world = World::new(strategy, |port| format!("{NAME}:{port}"), config).await;
        if let Some(silent_socket) = silent_socket(world.port) {
            break (world, silent_socket);
        }
    };
    world.calls().await;
    assert!(drain_packets(&silent_socket) > 0, "{strategy}: the first address is dialled first");
    for _ in 0..REDIALS {
        world.restart().await;
        drain_packets(&silent_socket);
        world.calls().await;
        if drain_packets(&silent_socket) == 0 {
            return;
        }
    }
    panic!("{strategy}: each redial waits for the address where nobody answers");
}

/// Over TCP the first address refuses at once, so the client has nothing to remember.
async fn check_over_http() {
    let mut world = World::new("http", |port| format!("http://{NAME}:{port}/billing"), "{}").await;
    for _ in 0..3 {
        world.calls().await;
        world.restart().await;
    }
}
