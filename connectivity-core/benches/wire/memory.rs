//! Memory of an idle connection, client and server together, after it has carried some traffic.

use connectivity_core::{MemoryRoutes, Router};
use futures_util::future::join_all;

use crate::bare_quic::Bare;
use crate::table::{self, Target};
use crate::world::RemoteServer;

const CONNECTIONS: usize = 200;

/// Enough rounds to use all buffers of a connection more than once.
const ROUNDS: usize = 4;
const AT_ONCE: usize = 64;

/// Returns the resident memory of this process in KiB.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4.0
}

/// Measures the memory of each `unix` connection.
pub async fn unix(remote: &RemoteServer) {
    let each = ours(remote, "unix").await;
    table::plain("unix, idle connection, both ends", "KiB", &[each], Target::AtMost(64.0));
}

/// Measures the memory of each `quic` connection beyond that of a bare quinn connection with the
/// same traffic.
pub async fn quic(remote: &RemoteServer, bare: &Bare) {
    let before = resident();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = bare.connect().await;
        for _ in 0..ROUNDS {
            join_all((0..AT_ONCE).map(async |_| connection.call(&[b'x'; 1024]).await)).await;
        }
        connections.push(connection);
    }
    let quinn = (resident() - before) / CONNECTIONS as f64;
    let beyond = ours(remote, "quic").await - quinn;
    let label = format!("quic, idle connection, both ends, beyond quinn's {quinn:.0}");
    table::plain(&label, "KiB", &[beyond], Target::AtMost(64.0));
}

async fn ours(remote: &RemoteServer, strategy: &str) -> f64 {
    let routes = MemoryRoutes::new();
    for n in 0..CONNECTIONS {
        let (endpoint, config) = remote.row(strategy, n + 1);
        let config = format!(r#"{{"remote_name":"echo",{config}}}"#);
        routes.set(&format!("echo{n}"), strategy, Some(&endpoint), &config);
    }
    let router = Router::builder().source(routes).build().unwrap();
    let before = resident();
    for n in 0..CONNECTIONS {
        let name = format!("echo{n}");
        for _ in 0..ROUNDS {
            join_all(
                (0..AT_ONCE).map(async |_| router.call(&name, vec![b'x'; 1024]).await.unwrap()),
            )
            .await;
        }
    }
    (resident() - before) / CONNECTIONS as f64
}
