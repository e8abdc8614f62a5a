//! Replication of a database of 25 MB, beside the way of the original Go package: a whole copy,
//! compressed with gzip. And the memory of both sides for one of 500 MB.
//!
//! Run with `cargo bench -p connectivity-core --features dbsync --bench dbsync`. Both ways end in
//! the same subscriber, which verifies what it gets. That of the original is favored: it copies at
//! once, where the original waits for 200 to 400 ms.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connectivity_core::dbsync::{Filter, Publisher, Subscriber, SubscriberListener};
use connectivity_core::{RouteConfig, RouteTls, Strategy, Tls};
use flate2::Compression;
use flate2::write::GzEncoder;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use ring::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const ROUNDS: usize = 5;
const SUM: &str = "SELECT sum(price) FROM products";

/// Makes a database of about `mb` megabytes: a table and an index.
fn fill(path: &Path, mb: i64) -> rusqlite::Connection {
    let shop = rusqlite::Connection::open(path).unwrap();
    shop.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price INT);
         CREATE INDEX by_name ON products (name)",
    )
    .unwrap();
    let sql = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?1)
               INSERT INTO products SELECT id, 'product ' || id || ' ' || hex(randomblob(32)), id % 97 FROM n";
    shop.execute(sql, [mb * 5200]).unwrap();
    shop
}

struct Edge {
    subscriber: Subscriber,
    listener: SubscriberListener,
    trust: RouteTls,
    certificate: String,
    _dir: tempfile::TempDir,
}

impl Edge {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let (cert_file, key_file) = (dir.path().join("cert"), dir.path().join("key"));
        std::fs::write(&cert_file, &certificate).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let tls = Tls::from_pem(cert_file, key_file).unwrap();
        let trust = trust(&tls.pin_sha256());
        let subscriber = Subscriber::builder(dir.path().join("replica")).open().await.unwrap();
        let listener = subscriber.listen("127.0.0.1:0", tls).await.unwrap();
        Self { subscriber, listener, trust, certificate, _dir: dir }
    }

    /// Waits until a query sees this sum.
    async fn sees(&self, sum: i64) {
        let seen = || {
            let reader = self.subscriber.reader().ok()?;
            reader.query_row(SUM, [], |row| row.get::<_, i64>(0)).ok()
        };
        let mut version = None;
        loop {
            // The query itself reads the whole table, so it is asked once of each snapshot.
            let now = self.subscriber.status().last_version;
            if now != version && seen() == Some(sum) {
                return;
            }
            version = now;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn trust(pin: &str) -> RouteTls {
    let config = format!(r#"{{"pin_sha256":"{pin}"}}"#);
    RouteConfig::parse(&config, &Strategy::parse("dbsync").unwrap()).unwrap().tls
}

fn sum(shop: &rusqlite::Connection) -> i64 {
    shop.query_row(SUM, [], |row| row.get(0)).unwrap()
}

/// Changes one row.
fn change(shop: &rusqlite::Connection, round: usize) {
    shop.execute("UPDATE products SET price = ?1 WHERE id = 777", [1000 + round as i64]).unwrap();
}

/// Copies, compresses and pushes the whole database, as the original does.
async fn original(shop: &rusqlite::Connection, folder: &Path, edge: &Edge) {
    let copy = folder.join("copy.db");
    let _ = std::fs::remove_file(&copy);
    shop.execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
    let bytes = std::fs::read(&copy).unwrap();
    let hash: String =
        digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let json = format!(
        r#"{{"version":{},"hash":"{hash}","size":{},"timestamp":{},"compressed":true}}"#,
        now.as_millis(),
        bytes.len(),
        now.as_secs()
    );
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&bytes).unwrap();
    let length = u32::try_from(json.len()).unwrap().to_be_bytes();
    let push = [b"SYN1", &length[..], json.as_bytes(), &gzip.finish().unwrap()].concat();
    let endpoint = client(&edge.certificate);
    let address = edge.listener.address().parse().unwrap();
    let connection = endpoint.connect(address, "localhost").unwrap().await.unwrap();
    let (mut writer, _reader) = connection.open_bi().await.unwrap();
    writer.write_all(&push).await.unwrap();
    writer.finish().unwrap();
    connection.closed().await;
}

fn client(certificate: &str) -> Endpoint {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"horos-dbsync-v1".to_vec()];
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = QuicClientConfig::try_from(config).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(config)));
    endpoint
}

/// The times of both ways, in turns, for a whole transfer and for one changed row.
async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let shop = fill(&path, 25);
    let (mut whole, mut row, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let edge = Edge::start().await;
        let began = Instant::now();
        original(&shop, folder.path(), &edge).await;
        edge.sees(sum(&shop)).await;
        theirs.push(began.elapsed());

        let edge = Edge::start().await;
        let began = Instant::now();
        let directory = folder.path().join(format!("copies{round}"));
        let publisher = Publisher::builder(&path, Filter::new().table("products"))
            .directory(directory)
            .target(edge.listener.address(), edge.trust.clone())
            .start()
            .await
            .unwrap();
        edge.sees(sum(&shop)).await;
        whole.push(began.elapsed());
        while publisher.status().targets[0].delivered.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        change(&shop, round);
        let (began, expected) = (Instant::now(), sum(&shop));
        edge.sees(expected).await;
        row.push(began.elapsed());
    }
    let theirs = median(theirs);
    println!("| what                                   | ours     | gzip     | sooner | target |");
    println!("| -------------------------------------- | -------- | -------- | ------ | ------ |");
    line("a whole transfer of 25 MB, start to query", median(whole), theirs, 5.0);
    line("one changed row, COMMIT to query", median(row), theirs, 10.0);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn line(what: &str, ours: Duration, theirs: Duration, target: f64) {
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    let verdict = if ratio >= target { "met" } else { "missed" };
    let (ours, theirs) = (ours.as_millis(), theirs.as_millis());
    println!("| {what} | {ours} ms | {theirs} ms | {ratio:.1} times | {target} {verdict} |");
}

/// What a process of this program does: the two sides of the measurement of memory.
const ROLE: &str = "DBSYNC_BENCH_ROLE";

/// Publishes until its standard input ends. Arguments: database, copies, address, pin.
async fn publish() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, copies, address, pin] = &arguments[..] else { panic!("four arguments") };
    let builder = Publisher::builder(database, Filter::new().table("products"));
    let builder = builder.directory(copies).target(address, trust(pin));
    let publisher = builder.start().await.unwrap();
    while publisher.status().targets[0].delivered.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{}", peak_memory());
}

/// Subscribes until it has a snapshot and its standard input ends. Argument: the directory.
async fn subscribe() {
    let directory: PathBuf = std::env::args().nth(1).unwrap().into();
    let subscriber = Subscriber::builder(directory).max_size(1 << 30).open().await.unwrap();
    let tls = Tls::self_signed(["localhost"]).unwrap();
    let pin = tls.pin_sha256();
    let listener = subscriber.listen("127.0.0.1:0", tls).await.unwrap();
    println!("{} {pin}", listener.address());
    while !subscriber.status().has_db {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    listener.shutdown(Duration::from_secs(10)).await;
    println!("{}", peak_memory());
}

/// Returns the most memory that this process has had, in MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

fn memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    drop(fill(&path, 500));
    let size = std::fs::metadata(&path).unwrap().len() >> 20;
    let run = |role: &str, arguments: &[&str]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, role).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
    };
    let replica = folder.path().join("replica");
    let mut edge = run("subscribe", &[replica.to_str().unwrap()]);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(edge.stdout.take().unwrap()));
    let first = lines.next().unwrap().unwrap();
    let (address, pin) = first.split_once(' ').unwrap();
    let copies = folder.path().join("copies");
    let main = run("publish", &[path.to_str().unwrap(), copies.to_str().unwrap(), address, pin]);
    let publisher = String::from_utf8(main.wait_with_output().unwrap().stdout).unwrap();
    let subscriber = lines.next().unwrap().unwrap();
    edge.wait().unwrap();
    println!("\nmost memory for a database of {size} MiB, target 64 MiB:");
    println!("  publisher {} MiB, subscriber {} MiB", publisher.trim(), subscriber.trim());
}

#[tokio::main]
async fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("publish") => publish().await,
        Ok("subscribe") => subscribe().await,
        _ => {
            measure().await;
            memory();
        }
    }
}
