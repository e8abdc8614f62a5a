//! What an idle connection keeps, both ends together, once it has carried some traffic.

use connectivity_core::{MemoryRoutes, Router};
use futures_util::future::join_all;

use crate::bare_quic::Bare;
use crate::table::{self, Target};
use crate::world::There;

const CONNECTIONS: usize = 200;

/// Enough to go through all buffers of a connection more than once.
const ROUNDS: usize = 4;
const AT_ONCE: usize = 64;

/// Memory of this process, in KiB.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4.0
}

/// What each connection adds, over `unix`.
pub async fn unix(there: &There) {
    let each = ours(there, "unix").await;
    table::plain("unix, idle connection, both ends", "KiB", &[each], Target::AtMost(64.0));
}

/// What each connection adds beyond a bare one of quinn that carried the same.
pub async fn quic(there: &There, bare: &Bare) {
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
    let beyond = ours(there, "quic").await - quinn;
    let what = format!("quic, idle connection, both ends, beyond quinn's {quinn:.0}");
    table::plain(&what, "KiB", &[beyond], Target::AtMost(64.0));
}

async fn ours(there: &There, strategy: &str) -> f64 {
    let routes = MemoryRoutes::new();
    for n in 0..CONNECTIONS {
        let (endpoint, config) = there.row(strategy, n + 1);
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
