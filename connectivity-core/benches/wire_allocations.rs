//! Allocations of one small remote call, client and server together: everything that any thread of
//! this process allocates while calls are in flight, divided by the number of calls.
//!
//! Run with `cargo bench -p connectivity-core --bench wire-allocations`.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a program of its own that uses a part of the module"
)]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and may panic")]

#[path = "wire/apart.rs"]
mod apart;
#[path = "wire/table.rs"]
mod table;
#[path = "wire/world.rs"]
mod world;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use world::{BillingClient, RemoteServer, Words};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: usize = 50_000;

/// Returns the allocations per call with this many callers. Each caller awaits its reply before the
/// next call.
async fn count(client: &BillingClient, callers: usize) -> f64 {
    let words = Words([u64::MAX; 4]);
    let calls = CALLS / callers;
    let all = |calls| async move {
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    for _ in 0..calls {
                        client.echo(words).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    all(1000).await;
    let region = Region::new(ALLOCATOR);
    all(calls).await;
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / (calls * callers) as f64
}

#[tokio::main]
async fn main() {
    let remote = RemoteServer::start();
    table::head();
    for strategy in ["unix", "quic"] {
        let (_router, client) = remote.client(strategy);
        for callers in [1, 64] {
            let each = count(&client, callers).await;
            let label = format!("{strategy}, {callers} in flight: allocations per call, both ends");
            table::plain(&label, "", &[each], table::Target::AtMost(16.0));
        }
    }
}
