//! The wire of the original Go package, in both directions, with peers that speak it byte by byte.

use std::io::{Read, Write};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{ServerConfig, VarInt};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;

const TABLE: &str = "CREATE TABLE t (v INT); INSERT INTO t VALUES (1)";
const VALUE: &str = "SELECT v FROM t";

/// A subscriber as the original's: it accepts one stream, reads it to the end, and closes.
struct GoSubscriber {
    endpoint: Endpoint,
    identity: Identity,
    pushes: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl GoSubscriber {
    fn start(code: u32, reason: &'static str) -> Self {
        let identity = Identity::new(None, "localhost", |_| {});
        let endpoint = listen(&identity);
        let (sender, pushes) = mpsc::unbounded_channel();
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let connection = incoming.await.unwrap();
                let (_writer, mut reader) = connection.accept_bi().await.unwrap();
                sender.send(reader.read_to_end(64 << 20).await.unwrap()).unwrap();
                connection.close(VarInt::from_u32(code), reason.as_bytes());
            }
        });
        Self { endpoint, identity, pushes }
    }

    async fn publish(&self, source: &Source) -> Publisher {
        let address = self.endpoint.local_addr().unwrap().to_string();
        let builder = Publisher::builder(source.path(), Filter::new().table("t"));
        builder.target(address, pinned(&self.identity)).start().await.unwrap()
    }
}

fn listen(identity: &Identity) -> Endpoint {
    let cert = CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    config.alpn_protocols = vec![ORIGINAL.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()));
    Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_subscriber_of_the_original_gets_what_it_can_read() {
    let (source, mut go) = (Source::new(TABLE), GoSubscriber::start(0, "done"));
    let publisher = go.publish(&source).await;
    let push = go.pushes.recv().await.unwrap();
    let (magic, rest) = push.split_at(4);
    let (length, rest) = rest.split_at(4);
    let length = u32::from_be_bytes(length.try_into().unwrap());
    let (json, body) = rest.split_at(length as usize);
    assert_eq!(magic, b"SYN1");
    let meta: Value = serde_json::from_slice(json).unwrap();
    let snapshot = publisher.status().last_snapshot.unwrap();
    let expected = format!(
        r#"{{"version":{},"hash":"{}","size":{},"timestamp":{},"compressed":true}}"#,
        snapshot.version, snapshot.hash, snapshot.size, snapshot.timestamp
    );
    assert_eq!(String::from_utf8_lossy(json), expected);
    let mut file = Vec::new();
    GzDecoder::new(body).read_to_end(&mut file).unwrap();
    assert_eq!((hash(&file), file.len() as u64), (snapshot.hash, meta["size"].as_u64().unwrap()));
    assert_eq!(file[18..20], [2, 2], "its reader turns WAL on, which a file must be in already");
    until("it is delivered", || publisher.status().targets[0].delivered == Some(snapshot.version))
        .await;
}

#[tokio::test]
async fn what_a_subscriber_of_the_original_refuses_is_told() {
    let (source, mut go) = (Source::new(TABLE), GoSubscriber::start(1, "hash\nmismatch"));
    let publisher = go.publish(&source).await;
    go.pushes.recv().await.unwrap();
    let state = || format!("{:?}", publisher.status().targets[0].state);
    until("the refusal is told", || state().contains("refuses version")).await;
    assert!(!state().contains('\n') && state().contains("mismatch"), "{}", state());
    assert_eq!(publisher.status().targets[0].delivered, None);
}

#[tokio::test]
async fn one_that_stops_in_between_gets_it_again() {
    let (source, mut go) = (Source::new(TABLE), GoSubscriber::start(0, "server shutdown"));
    let publisher = go.publish(&source).await;
    for _ in 0..3 {
        go.pushes.recv().await.unwrap();
    }
    assert_eq!(publisher.status().targets[0].delivered, None, "nobody said that it was taken");
}

/// Golden bytes: the head, then the file or its gzip; the original closes when it pleases.
#[tokio::test]
async fn a_publisher_of_the_original_is_understood() {
    let edge = Edge::start().await;
    let raw = database("CREATE TABLE t (v INT); INSERT INTO t VALUES (5)");
    assert_eq!(send(&edge, ORIGINAL, &push(now(), &raw)).await, (0, "done".to_owned()));
    assert_eq!(number(&edge.reader(), VALUE), Ok(5));

    let file = database("CREATE TABLE t (v INT); INSERT INTO t VALUES (6)");
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&file).unwrap();
    let version = now() + 1;
    let meta = format!(
        r#"{{"Version":{version},"Hash":"{}","Size":{},"Timestamp":{},"Compressed":true}}"#,
        hash(&file),
        file.len(),
        version / 1000
    );
    let bytes = push_of(&meta, &gzip.finish().unwrap());
    assert_eq!(send(&edge, ORIGINAL, &bytes).await, (0, "done".to_owned()));
    assert_eq!(number(&edge.reader(), VALUE), Ok(6));
    assert_eq!(send(&edge, ORIGINAL, &bytes).await, (0, "done".to_owned()), "it is there already");
    assert!(edge.stray_files().is_empty());
}

/// The original's sender closes 200 ms after its last byte, whatever the receiver has said.
#[tokio::test]
async fn a_publisher_that_does_not_wait_for_the_verdict_is_served() {
    let edge = Edge::start().await;
    let file = database(
        "CREATE TABLE t (v INT); INSERT INTO t VALUES (7); CREATE TABLE large AS SELECT randomblob(3000000)",
    );
    let (endpoint, connection) = connect(edge.listener.address(), &edge.identity, ORIGINAL).await;
    let (mut writer, _reader) = connection.open_bi().await.unwrap();
    writer.write_all(&push(now(), &file)).await.unwrap();
    writer.finish().unwrap();
    // Everything has arrived, and nothing has been said.
    writer.stopped().await.unwrap();
    connection.close(VarInt::from_u32(0), b"done");
    endpoint.wait_idle().await;
    edge.sees(VALUE, 7).await;
}
