//! Cost of calls over `unix` and `quic`, compared with the same traffic without the framework.
//!
//! Run with `cargo bench -p connectivity-core --bench wire`. Callers run on the runtime of
//! `#[tokio::main]`, as in a user's program. Servers have their own runtimes. Threads are not
//! pinned. The two sides run in alternating rounds, and a ratio is the median of the ratios of the
//! rounds. Compare the ratios: the times depend on the machine and its load. The bench
//! `wire-allocations` counts allocations. Words after `--` select measurements: `-- unix speed`.
#![allow(missing_docs, unreachable_pub, reason = "a program of its own")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and may panic")]

mod apart;
mod bare;
mod bare_quic;
mod load;
mod memory;
mod table;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bare::Batches;
use bare_quic::Bare;
use load::{Echo, Measured, load};
use table::Target::{AtLeast, AtMost, None};
use world::{BillingClient, RemoteServer, Words};

/// The duration of one side of one round.
const ROUND: Duration = Duration::from_millis(500);

const ROUNDS: usize = 9;

#[derive(Clone)]
struct Typed(BillingClient);

impl Echo for Typed {
    async fn echo(&self) {
        let words = Words([u64::MAX; 4]);
        assert_eq!(self.0.echo(words).await.unwrap(), words);
    }
}

/// Measures our side and the reference in alternating rounds.
async fn alternate(
    ours: &impl Echo,
    reference: &impl Echo,
    callers: usize,
    figure: impl Fn(&Measured) -> f64,
) -> Vec<(f64, f64)> {
    load(ours, callers, ROUND / 2).await;
    load(reference, callers, ROUND / 2).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let ours = load(ours, callers, ROUND).await;
        rounds.push((figure(&ours), figure(&load(reference, callers, ROUND).await)));
    }
    rounds
}

fn thousands(measured: &Measured) -> f64 {
    measured.per_second / 1e3
}

async fn unix(remote: &RemoteServer) {
    let (_router, client) = remote.client("unix");
    let ours = Typed(client);
    let bare = bare::Mux::unix(remote.dir.path(), Batches::AsTheyCome).await;
    let rounds = alternate(&ours, &bare, 64, thousands).await;
    table::row("unix, 64 in flight: rate, to bare frames", "k/s", &rounds, AtLeast(0.6));
    let batches = bare::Mux::unix(remote.dir.path(), Batches::From(16)).await;
    let rounds = alternate(&ours, &batches, 64, thousands).await;
    table::row("the same, to bare frames in batches like ours", "k/s", &rounds, None);
    let rounds = alternate(&ours, &bare, 1, Measured::p50_us).await;
    table::row("unix, 1 in flight: p50, to bare frames", "us", &rounds, None);
}

async fn quic(remote: &RemoteServer, bare: &Bare) {
    let (_router, client) = remote.client("quic");
    let (ours, bare) = (Typed(client), bare.connect().await);
    let rounds = alternate(&ours, &bare, 1, Measured::p50_us).await;
    table::row(
        "quic, 1 in flight: p50, to bare quinn, a stream per call",
        "us",
        &rounds,
        AtMost(1.1),
    );
    let rounds = alternate(&ours, &bare, 64, thousands).await;
    table::row(
        "quic, 64 in flight: rate, to bare quinn, a stream per call",
        "k/s",
        &rounds,
        AtLeast(1.5),
    );
}

/// Measures small calls with and without four concurrent bodies of 1 MiB to the same endpoint.
async fn beside_bodies(remote: &RemoteServer, strategy: &str) {
    let (_router, client) = remote.client(strategy);
    let (small, copied) = (Typed(client.clone()), Arc::new(AtomicUsize::new(0)));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let alone = load(&small, 64, ROUND).await;
        let bodies: Vec<_> =
            (0..4).map(|_| tokio::spawn(bodies(client.clone(), Arc::clone(&copied)))).collect();
        let beside = load(&small, 64, ROUND).await;
        for task in bodies {
            task.abort();
            let _ = task.await;
        }
        rounds.push((beside.p50_us(), alone.p50_us()));
    }
    let per_second = copied.load(Ordering::Relaxed) as f64 / (ROUND * ROUNDS as u32).as_secs_f64();
    let label =
        format!("{strategy}, 64 in flight beside 4 x 1 MiB ({per_second:.0}/s): p50, to without");
    table::row(&label, "us", &rounds, AtMost(3.0));
}

async fn bodies(client: BillingClient, copied: Arc<AtomicUsize>) {
    let text = "x".repeat(1 << 20);
    loop {
        assert_eq!(client.copy(text.clone()).await.unwrap().len(), text.len());
        copied.fetch_add(1, Ordering::Relaxed);
    }
}

/// Measures small calls with eight concurrent callers of a method that computes for 1 ms. Also
/// measures the bare side under the same load, though its server has only its own calls, to show
/// the part of the machine's scheduler.
async fn beside_computing(remote: &RemoteServer, bare: &impl Echo, strategy: &str) {
    let (_router, client) = remote.client(strategy);
    let computed = Arc::new(AtomicUsize::new(0));
    let computing: Vec<_> = (0..8)
        .map(|_| {
            let (client, computed) = (client.clone(), Arc::clone(&computed));
            tokio::spawn(async move {
                loop {
                    client.compute(1000).await.unwrap();
                    computed.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let began = Instant::now();
    let rounds = alternate(&Typed(client.clone()), bare, 1, Measured::p50_us).await;
    let per_second = computed.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    computing.iter().for_each(tokio::task::JoinHandle::abort);
    let label =
        format!("{strategy}, 1 in flight beside 8 that compute 1 ms ({per_second:.0}/s): p50");
    let times: Vec<_> = rounds.iter().map(|(ours, _)| *ours).collect();
    table::plain(&label, "us", &times, AtMost(1000.0));
    table::row("the same, to the bare side beside the same", "us", &rounds, None);
}

/// Measures the calls of one client while the calls of another client block their thread: 5 ms at
/// every twentieth call, or 12 s once.
async fn beside_blocking(remote: &RemoteServer, strategy: &str) {
    for (label, millis) in [("blocks 5 ms every 20 calls", 0), ("blocks 12 s", 12_000)] {
        let ((_bad_router, bad), (_router, client)) =
            (remote.client(strategy), remote.client(strategy));
        let blocking = tokio::spawn(async move {
            loop {
                bad.block(millis).await.unwrap();
            }
        });
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let measured = load(&Typed(client.clone()), 1, ROUND).await;
            p50.push(measured.p50_us());
            p99.push(measured.p99_us());
        }
        blocking.abort();
        table::plain(
            &format!("{strategy}, beside another client that {label}: p50"),
            "us",
            &p50,
            None,
        );
        table::plain(
            &format!("{strategy}, beside another client that {label}: p99"),
            "us",
            &p99,
            AtMost(2000.0),
        );
    }
}

#[tokio::main]
async fn main() {
    let remote = RemoteServer::start();
    table::head();
    let bare = Bare::start();
    // Memory first: memory that other measurements free would be reused and hide new allocations.
    if is_selected("unix", "memory") {
        memory::unix(&remote).await;
    }
    if is_selected("quic", "memory") {
        memory::quic(&remote, &bare).await;
    }
    if is_selected("unix", "speed") {
        unix(&remote).await;
    }
    if is_selected("quic", "speed") {
        quic(&remote, &bare).await;
    }
    for strategy in ["unix", "quic"] {
        if is_selected(strategy, "bodies") {
            beside_bodies(&remote, strategy).await;
        }
        if is_selected(strategy, "computing") {
            match strategy {
                "unix" => {
                    let bare = bare::Mux::unix(remote.dir.path(), Batches::AsTheyCome).await;
                    beside_computing(&remote, &bare, strategy).await;
                }
                _ => beside_computing(&remote, &bare.connect().await, strategy).await,
            }
        }
        if is_selected(strategy, "blocking") {
            beside_blocking(&remote, strategy).await;
        }
    }
}

/// Returns whether the words on the command line select this measurement. Without words, all are
/// selected.
fn is_selected(strategy: &str, label: &str) -> bool {
    std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .all(|word| word == strategy || word == label)
}
