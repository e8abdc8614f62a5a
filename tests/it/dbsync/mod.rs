//! Strategy `dbsync`: a real publisher and a real subscriber over loopback, and raw peers of both.

mod hostile;
mod original;
mod privacy;
mod replication;
mod rows;
mod trust;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connectivity_core::dbsync::{
    Filter, Publisher, Reader, Subscriber, SubscriberBuilder, SubscriberListener,
};
use connectivity_core::{RouteTls, Tls};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tests::certificates::*;

const ORIGINAL: &[u8] = b"horos-dbsync-v1";
const CHUNKS: &[u8] = b"connectivity-dbsync/1";

/// Waits until something is so, for as long as a busy machine may take.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect(what);
}

/// A subscriber that listens, and its certificate.
struct Edge {
    dir: tempfile::TempDir,
    identity: Identity,
    subscriber: Subscriber,
    listener: SubscriberListener,
}

impl Edge {
    async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    async fn start_with(configure: impl FnOnce(SubscriberBuilder) -> SubscriberBuilder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::new(None, "localhost", |_| {});
        let subscriber = configure(Subscriber::builder(dir.path())).open().await.unwrap();
        let listener = subscriber.listen("127.0.0.1:0", tls(&identity)).await.unwrap();
        Self { dir, identity, subscriber, listener }
    }

    /// Returns the keys by which a publisher trusts it.
    fn trust(&self) -> RouteTls {
        pinned(&self.identity)
    }

    fn reader(&self) -> Reader {
        self.subscriber.reader().unwrap()
    }

    /// Waits until the newest snapshot answers a query with this number.
    async fn sees(&self, sql: &str, expected: i64) {
        until(&format!("{sql} is {expected}"), || {
            self.subscriber.reader().is_ok_and(|reader| number(&reader, sql) == Ok(expected))
        })
        .await;
    }

    /// Returns the names of the files that are neither the snapshot in force nor the subscriber's
    /// own.
    fn stray_files(&self) -> Vec<String> {
        stray_files(self.dir.path(), &self.reader())
    }
}

fn stray_files(dir: &Path, reader: &Reader) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let current = reader.path().file_name().unwrap().to_owned();
    names
        .filter(|name| *name != current && name != "lock" && name != "current.json")
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

fn tls(identity: &Identity) -> Tls {
    let files = Files::new();
    let (cert, key) = (files.write("c", &identity.cert), files.write("k", &identity.key));
    Tls::from_pem(cert, key).unwrap()
}

fn pinned(identity: &Identity) -> RouteTls {
    let strategy = connectivity_core::Strategy::parse("dbsync").unwrap();
    let json = format!(r#"{{"pin_sha256":"{}"}}"#, pin_of(identity));
    connectivity_core::RouteConfig::parse(&json, &strategy).unwrap().tls
}

fn number(connection: &rusqlite::Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}

/// The database of a process that publishes.
struct Source {
    dir: tempfile::TempDir,
    connection: rusqlite::Connection,
}

impl Source {
    fn new(sql: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let connection = rusqlite::Connection::open(dir.path().join("shop.db")).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
        connection.execute_batch(sql).unwrap();
        Self { dir, connection }
    }

    fn run(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("shop.db")
    }

    async fn publish(&self, filter: Filter, edge: &Edge) -> Publisher {
        let builder = Publisher::builder(self.path(), filter);
        builder.target(edge.listener.address(), edge.trust()).start().await.unwrap()
    }
}

/// The bytes of a database that a statement makes.
fn database(sql: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    std::fs::read(path).unwrap()
}

fn hash(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Now, in milliseconds since 1970.
fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// A push as the original sends it.
fn push(version: i64, bytes: &[u8]) -> Vec<u8> {
    push_of(&description(version, bytes), bytes)
}

fn description(version: i64, bytes: &[u8]) -> String {
    format!(
        r#"{{"version":{version},"hash":"{}","size":{},"timestamp":{}}}"#,
        hash(bytes),
        bytes.len(),
        version / 1000
    )
}

fn push_of(description: &str, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(description.len()).unwrap().to_be_bytes();
    [b"SYN1", &length[..], description.as_bytes(), bytes].concat()
}

/// Connects to a subscriber as a client of quinn's.
async fn connect(address: &str, server: &Identity, alpn: &[u8]) -> (Endpoint, Connection) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.cert.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = QuicClientConfig::try_from(config).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(config)));
    let connecting = endpoint.connect(address.parse().unwrap(), "localhost").unwrap();
    let connection = connecting.await.unwrap();
    (endpoint, connection)
}

/// Sends bytes on one stream, and returns the code and the text with which the subscriber closes.
async fn send(edge: &Edge, alpn: &[u8], bytes: &[u8]) -> (u64, String) {
    let address = edge.listener.address();
    let (_endpoint, connection) = connect(address, &edge.identity, alpn).await;
    let (mut writer, _reader) = connection.open_bi().await.unwrap();
    // A subscriber that refuses need not read to the end.
    let _ = writer.write_all(bytes).await;
    let _ = writer.finish();
    verdict(&connection).await
}

async fn verdict(connection: &Connection) -> (u64, String) {
    let closed = tokio::time::timeout(Duration::from_secs(60), connection.closed()).await;
    match closed.expect("a verdict") {
        ConnectionError::ApplicationClosed(close) => {
            (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("{other}"),
    }
}
