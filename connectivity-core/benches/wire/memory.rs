//! What an idle connection keeps, both ends together, once it has carried some traffic.

use connectivity_core::{MemoryRoutes, Router};
use futures_util::future::join_all;

use crate::table::{self, Target};
use crate::world::There;

const CONNECTIONS: usize = 300;

/// Memory of this process, in KiB.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4.0
}

pub async fn unix(there: &There) {
    let routes = MemoryRoutes::new();
    for n in 0..CONNECTIONS {
        // A name of its own makes it an endpoint of its own.
        let name = there.dir.path().join(format!("{n}.sock"));
        std::os::unix::fs::symlink(there.socket(), &name).unwrap();
        routes.set(&format!("echo{n}"), "unix", Some(&name.display().to_string()), r#"{"remote_name":"echo"}"#);
    }
    let router = Router::builder().source(routes).build().unwrap();
    let before = resident();
    for n in 0..CONNECTIONS {
        burst(&router, &format!("echo{n}")).await;
    }
    let each = (resident() - before) / CONNECTIONS as f64;
    table::plain("unix, idle connection, both ends", "KiB", &[each], Target::AtMost(64.0));
}

/// Enough to go through all buffers of a connection more than once.
async fn burst(router: &Router, name: &str) {
    for _ in 0..4 {
        join_all((0..64).map(async |_| router.call(name, vec![b'x'; 1024]).await.unwrap())).await;
    }
}
