//! Cost of changing a table: one edit among many rows, one registration among many, and one
//! `inspect`. Also the CPU time of a router while nothing changes.
//!
//! Run with `cargo bench -p connectivity-core --bench table`. Files are real files; a registration
//! commits a row.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connectivity_core::{
    ChangeFn, MemoryRoutes, RouteInfo, RouteRow, RouteSource, RouteState, Router, Snapshot,
    SourceError, SqliteRoutes, WatchGuard,
};

const SERVICES: usize = 2_000;
const EDITS: u32 = 50;
const IDLE_ROWS: usize = 100_000;

/// A source without a watcher, so that one thread does all the work.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Snapshot>>);

impl Rows {
    fn of(count: usize) -> Self {
        let rows = Self::default();
        rows.0.lock().unwrap().rows = (0..count).map(|n| row(n, "noop")).collect();
        rows
    }

    fn edit(&self, at: usize, strategy: &str) {
        let mut snapshot = self.0.lock().unwrap();
        snapshot.generation += 1;
        snapshot.rows[at] = row(at, strategy);
    }
}

fn row(n: usize, strategy: &str) -> RouteRow {
    RouteRow::new(&format!("service{n}"), strategy, None, "{}")
}

impl RouteSource for Rows {
    fn read(&self) -> Result<Snapshot, SourceError> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn watch(&self, _changed: ChangeFn) -> Result<WatchGuard, SourceError> {
        Ok(WatchGuard::on_drop(|| {}))
    }
}

/// Measures one edit: reading all rows, and building and swapping the table.
async fn swap(count: usize) {
    let rows = Rows::of(count);
    let router = Router::builder().source(rows.clone()).build().unwrap();
    let (mut reading, mut all) = (Duration::ZERO, Duration::ZERO);
    for n in 0..EDITS {
        rows.edit(count / 2, if n % 2 == 0 { "local" } else { "noop" });
        let start = Instant::now();
        drop(rows.read().unwrap());
        let read = Instant::now();
        router.reload().await.unwrap();
        reading += read - start;
        all += read.elapsed();
    }
    println!(
        "{:<52} {:>9.1?}, without reading {:>9.1?}",
        format!("one edit among {count} rows"),
        all / EDITS,
        (all.saturating_sub(reading)) / EDITS
    );
}

fn register(label: &str, router: &Router) {
    let start = Instant::now();
    for n in 0..SERVICES {
        router.register_raw(&format!("service{n}"), async |bytes| Ok(bytes)).unwrap();
    }
    println!("{:<52} {:>9.1?}", format!("{SERVICES} registrations, {label}"), start.elapsed());
}

/// Measures commits alone, for comparison.
fn commit(path: &Path) {
    let shell = rusqlite::Connection::open(path).unwrap();
    shell
        .execute_batch("PRAGMA synchronous = FULL; CREATE TABLE alone (name TEXT PRIMARY KEY)")
        .unwrap();
    let start = Instant::now();
    for n in 0..SERVICES {
        shell.execute("INSERT INTO alone VALUES (?1)", [format!("service{n}")]).unwrap();
    }
    println!(
        "{:<52} {:>9.1?}",
        format!("{SERVICES} commits of one row without triggers"),
        start.elapsed()
    );
}

async fn inspect(path: &Path) {
    const LOOKS: u32 = 1_000;
    let router = Router::open_or_create(path).await.unwrap();
    for name in ["billing", "mail"] {
        router.register_raw(name, async |bytes| Ok(bytes)).unwrap();
    }
    let start = Instant::now();
    (0..LOOKS).for_each(|_| assert!(router.inspect().warnings.is_empty()));
    println!("{:<52} {:>9.1?}", "inspect of a file of two rows", start.elapsed() / LOOKS);
}

/// Creates a file with many rows of one kind and one other row.
fn fill(path: &Path, (strategy, endpoint): (&str, Option<&str>), one: &str) {
    drop(SqliteRoutes::open_or_create(path).unwrap());
    let mut shell = rusqlite::Connection::open(path).unwrap();
    let tx = shell.transaction().unwrap();
    for n in 0..IDLE_ROWS {
        let insert = "INSERT INTO routes(service_name, strategy, endpoint) VALUES (?1, ?2, ?3)";
        tx.execute(insert, (format!("service{n}"), strategy, endpoint)).unwrap();
    }
    tx.execute_batch(&format!(
        "INSERT INTO routes(service_name, strategy, endpoint, config) VALUES {one}"
    ))
    .unwrap();
    tx.commit().unwrap();
}

/// Measures the CPU time of a router while nothing changes.
async fn idle(label: &str, path: &Path, bad: usize) {
    const SETTLING: Duration = Duration::from_secs(5);
    const IDLE: Duration = Duration::from_secs(20);
    let router = Router::open(path).await.unwrap();
    let is_bad = |row: &&RouteInfo| row.state != RouteState::InForce;
    assert_eq!(router.inspect().routes.iter().filter(is_bad).count(), bad);
    tokio::time::sleep(SETTLING).await;
    let Some(before) = ticks() else { return };
    tokio::time::sleep(IDLE).await;
    let used = ticks().unwrap_or(before) - before;
    // A tick is 10 ms, so this is the percentage of one core.
    println!(
        "{:<52} {:>8.2}%",
        format!("idle with {IDLE_ROWS} rows, {label}"),
        used as f64 / IDLE.as_secs_f64()
    );
}

/// Returns the CPU time of this process on all cores, in ticks of 10 ms. `None` if the system has
/// no `/proc`.
fn ticks() -> Option<u32> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u32>().ok()).sum()
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|arg| arg == "idle") {
        return all_idle().await;
    }
    for count in [1_000, 10_000, 100_000] {
        swap(count).await;
    }
    register("in memory", &Router::builder().source(MemoryRoutes::new()).build().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.db");
    commit(&dir.path().join("alone.db"));
    register("in a file", &Router::open_or_create(&path).await.unwrap());
    register("in a file that has the rows", &Router::open_or_create(&path).await.unwrap());
    inspect(&dir.path().join("two.db")).await;
    all_idle().await;
}

async fn all_idle() {
    let dir = tempfile::tempdir().unwrap();
    let (switched_off, far) = (("noop", None), ("http", Some("http://example.com/x")));
    let good = "('one', 'noop', NULL, '{}')";
    let bad = r#"('one', 'http', 'https://example.com/x', '{"ca_file":"/nowhere/ca.pem"}')"#;
    for (label, kind, one) in [
        ("all noop", switched_off, good),
        ("noop, and one that is bad", switched_off, bad),
        ("all http", far, good),
        ("http, and one that is bad", far, bad),
    ] {
        let path = dir.path().join(format!("{label}.db"));
        fill(&path, kind, one);
        idle(label, &path, usize::from(one == bad)).await;
    }
}
