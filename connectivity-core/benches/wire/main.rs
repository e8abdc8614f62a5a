//! What calls over `unix` and `quic` cost beside the same traffic with nothing around it.
//!
//! Run with `cargo bench -p connectivity-core --bench wire`. Callers are where users have them, on
//! the runtime of `#[tokio::main]`; servers have runtimes of their own; nothing is pinned. What is
//! compared runs in turns, round by round, and a ratio is the median of the ratios of the rounds:
//! look at those, for the times depend on the machine and on what else it does. Allocations are
//! counted by the bench `wire-allocations`. Words after `--` choose what is measured: `-- unix
//! speed`.
#![allow(missing_docs, unreachable_pub, reason = "a program of its own")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and may stop")]

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
use load::{Echo, Seen, load};
use table::Target::{AtLeast, AtMost, None};
use world::{BillingClient, There, Words};

/// One side of one round.
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

/// Ours and the reference in turns.
async fn in_turns(
    ours: &impl Echo,
    reference: &impl Echo,
    callers: usize,
    figure: impl Fn(&Seen) -> f64,
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

fn thousands(seen: &Seen) -> f64 {
    seen.per_second / 1e3
}

async fn unix(there: &There) {
    let (_router, client) = there.client("unix");
    let ours = Typed(client);
    let bare = bare::Mux::unix(there.dir.path(), Batches::AsTheyCome).await;
    let rounds = in_turns(&ours, &bare, 64, thousands).await;
    table::row("unix, 64 in flight: rate, to bare frames", "k/s", &rounds, AtLeast(0.6));
    let batches = bare::Mux::unix(there.dir.path(), Batches::From(16)).await;
    let rounds = in_turns(&ours, &batches, 64, thousands).await;
    table::row("the same, to bare frames in batches like ours", "k/s", &rounds, None);
    let rounds = in_turns(&ours, &bare, 1, Seen::p50_us).await;
    table::row("unix, 1 in flight: p50, to bare frames", "us", &rounds, None);
}

async fn quic(there: &There, bare: &Bare) {
    let (_router, client) = there.client("quic");
    let (ours, bare) = (Typed(client), bare.connect().await);
    let rounds = in_turns(&ours, &bare, 1, Seen::p50_us).await;
    table::row(
        "quic, 1 in flight: p50, to bare quinn, a stream per call",
        "us",
        &rounds,
        AtMost(1.1),
    );
    let rounds = in_turns(&ours, &bare, 64, thousands).await;
    table::row(
        "quic, 64 in flight: rate, to bare quinn, a stream per call",
        "k/s",
        &rounds,
        AtLeast(1.5),
    );
}

/// Small calls beside four bodies of 1 MiB to the same endpoint, and without them.
async fn beside_bodies(there: &There, strategy: &str) {
    let (_router, client) = there.client(strategy);
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
    let what =
        format!("{strategy}, 64 in flight beside 4 x 1 MiB ({per_second:.0}/s): p50, to without");
    table::row(&what, "us", &rounds, AtMost(3.0));
}

async fn bodies(client: BillingClient, copied: Arc<AtomicUsize>) {
    let text = "x".repeat(1 << 20);
    loop {
        assert_eq!(client.copy(text.clone()).await.unwrap().len(), text.len());
        copied.fetch_add(1, Ordering::Relaxed);
    }
}

/// Small calls beside eight callers of a method that computes for 1 ms; and the bare side beside
/// the same, whose server does nothing else: what the machine's scheduler leaves to both.
async fn beside_computing(there: &There, bare: &impl Echo, strategy: &str) {
    let (_router, client) = there.client(strategy);
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
    let rounds = in_turns(&Typed(client.clone()), bare, 1, Seen::p50_us).await;
    let per_second = computed.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    computing.iter().for_each(tokio::task::JoinHandle::abort);
    let what =
        format!("{strategy}, 1 in flight beside 8 that compute 1 ms ({per_second:.0}/s): p50");
    let times: Vec<_> = rounds.iter().map(|(ours, _)| *ours).collect();
    table::plain(&what, "us", &times, AtMost(1000.0));
    table::row("the same, to the bare side beside the same", "us", &rounds, None);
}

/// Calls of one client beside another's that block their thread: 5 ms at every twentieth call, or
/// 12 s once.
async fn beside_blocking(there: &There, strategy: &str) {
    for (what, millis) in [("blocks 5 ms every 20 calls", 0), ("blocks 12 s", 12_000)] {
        let ((_bad_router, bad), (_router, client)) =
            (there.client(strategy), there.client(strategy));
        let blocking = tokio::spawn(async move {
            loop {
                bad.block(millis).await.unwrap();
            }
        });
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let seen = load(&Typed(client.clone()), 1, ROUND).await;
            p50.push(seen.p50_us());
            p99.push(seen.p99_us());
        }
        blocking.abort();
        table::plain(
            &format!("{strategy}, beside another client that {what}: p50"),
            "us",
            &p50,
            None,
        );
        table::plain(
            &format!("{strategy}, beside another client that {what}: p99"),
            "us",
            &p99,
            AtMost(2000.0),
        );
    }
}

#[tokio::main]
async fn main() {
    let there = There::start();
    table::head();
    let bare = Bare::start();
    // First, for what the others leave free would be taken instead of new memory, and hide it.
    if wanted("unix", "memory") {
        memory::unix(&there).await;
    }
    if wanted("quic", "memory") {
        memory::quic(&there, &bare).await;
    }
    if wanted("unix", "speed") {
        unix(&there).await;
    }
    if wanted("quic", "speed") {
        quic(&there, &bare).await;
    }
    for strategy in ["unix", "quic"] {
        if wanted(strategy, "bodies") {
            beside_bodies(&there, strategy).await;
        }
        if wanted(strategy, "computing") {
            match strategy {
                "unix" => {
                    let bare = bare::Mux::unix(there.dir.path(), Batches::AsTheyCome).await;
                    beside_computing(&there, &bare, strategy).await;
                }
                _ => beside_computing(&there, &bare.connect().await, strategy).await,
            }
        }
        if wanted(strategy, "blocking") {
            beside_blocking(&there, strategy).await;
        }
    }
}

/// Says whether the words on the command line, if there are any, choose this.
fn wanted(strategy: &str, what: &str) -> bool {
    std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .all(|word| word == strategy || word == what)
}
