//! Pushes that lie, stop, or come in pieces; and peers that are killed. Whatever comes, the live
//! file is sound, and it is the old snapshot or the new one.

use std::io::Write;
use std::process::Stdio;

use flate2::write::GzEncoder;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::*;

const TABLE: &str = "CREATE TABLE t (v INT); INSERT INTO t VALUES (1)";
const VALUE: &str = "SELECT v FROM t";

fn value(value: i64) -> Vec<u8> {
    // Large enough that a push has many packets.
    database(&format!(
        "CREATE TABLE t (v INT); INSERT INTO t VALUES ({value}); CREATE TABLE large AS SELECT randomblob(200000)"
    ))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn is_sound(reader: &Reader) -> bool {
    reader.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap() == "ok"
}

#[tokio::test]
async fn thirty_hostile_pushes_change_nothing() {
    let edge =
        Edge::start_with(|builder| builder.max_size(8 << 20).max_age(Duration::from_secs(3600)))
            .await;
    let first = now();
    assert_eq!(send(&edge, ORIGINAL, &push(first, &database(TABLE))).await.0, 0);
    let good = value(2);
    let next = first + 1;
    let described =
        |old: &str, new: &str| push_of(&description(next, &good).replace(old, new), &good);
    let (size, digest) = (good.len(), hash(&good));
    let mut damaged = good.clone();
    damaged[4096 * 2 + 8..4096 * 2 + 64].fill(0xff);
    let mut page_size = database(TABLE);
    page_size[16..18].copy_from_slice(&[0, 3]);
    let with_more = [&good[..], b"more"].concat();
    let view = database(
        "CREATE VIEW t AS WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT v FROM n",
    );
    let trigger =
        database("CREATE TABLE t (v); CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END");
    let virtual_table = database("CREATE VIRTUAL TABLE t USING fts5(v)");
    let endless_check = database(
        "CREATE TABLE t (v CHECK (v > 0)); INSERT INTO t VALUES (1); PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = 'CREATE TABLE t (v, PRIMARY KEY (v))'",
    );
    let bomb = vec![0; 64 << 20];
    let compressed =
        |json: String, body: Vec<u8>| push_of(&json.replace('}', r#","compressed":true}"#), &body);
    let pushes: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no magic", b"SYN2\0\0\0\x02{}".to_vec(), "SYN1"),
        ("nothing", Vec::new(), "incomplete"),
        ("half a magic", b"SY".to_vec(), "incomplete"),
        ("an endless description", b"SYN1\xff\xff\xff\xff{".to_vec(), "longer than 1 MiB"),
        ("a cut description", b"SYN1\0\0\0\x09{}".to_vec(), "incomplete"),
        ("no JSON", push_of("nonsense", &good), "no JSON"),
        ("no object", push_of("[1]", &good), "no JSON object"),
        ("a short hash", described(&digest, "abcd"), "SHA-256"),
        ("no hash", described(&digest, ""), "SHA-256"),
        ("another hash", described(&digest, &"0".repeat(64)), "hash"),
        ("no size", described(&format!(r#","size":{size}"#), ""), "size"),
        ("a size below zero", described(&format!(r#""size":{size}"#), r#""size":-1"#), "size"),
        (
            "a huge size",
            described(&format!(r#""size":{size}"#), r#""size":9223372036854775807"#),
            "allowed",
        ),
        (
            "a size over the limit",
            described(&format!(r#""size":{size}"#), r#""size":8388609"#),
            "allowed",
        ),
        ("a smaller size", described(&format!(r#""size":{size}"#), r#""size":4096"#), "longer"),
        (
            "a larger size",
            described(&format!(r#""size":{size}"#), r#""size":4194304"#),
            "incomplete",
        ),
        ("no bytes", push_of(&description(next, &good), b""), "incomplete"),
        ("more bytes", push_of(&description(next, &good), &with_more), "longer"),
        ("an older version", push(first - 1, &good), "newer"),
        ("another of the same version", push(first, &good), "newer"),
        ("a version of the far future", push(i64::MAX, &good), "later time"),
        (
            "an old snapshot",
            described(&format!(r#""timestamp":{}"#, next / 1000), r#""timestamp":1000000000"#),
            "old",
        ),
        ("one without a time", described(&format!(r#","timestamp":{}"#, next / 1000), ""), "old"),
        ("gzip that is none", compressed(description(next, &good), good.clone()), "damaged"),
        ("cut gzip", compressed(description(next, &good), gzip(&good)[..5000].to_vec()), "damaged"),
        ("a bomb", compressed(description(next, &good), gzip(&bomb)), "longer"),
        ("no database", push(next, &[b'x'; 8192]), "no SQLite database"),
        ("an empty file", push(next, b""), "no SQLite database"),
        ("a damaged tree", push(next, &damaged), "sound"),
        ("a page size that is none", push(next, &page_size), "sound"),
        ("a view without end", push(next, &view), "a view"),
        ("a trigger", push(next, &trigger), "a trigger"),
        ("a virtual table", push(next, &virtual_table), "a virtual table"),
        ("a schema that does not fit", push(next, &endless_check), "sound"),
    ];
    assert!(pushes.len() >= 30);
    for (label, bytes, problem) in pushes {
        let (code, text) = send(&edge, ORIGINAL, &bytes).await;
        assert!(code == 1 && text.contains(problem), "{label}: {code} {text}");
        let reader = edge.reader();
        assert_eq!((number(&reader, VALUE), is_sound(&reader)), (Ok(1), true), "{label}");
        assert_eq!(edge.stray_files(), [""; 0], "{label}");
        assert_eq!(edge.subscriber.status().last_refusal, Some(text), "{label}");
    }
    assert_eq!(send(&edge, ORIGINAL, &push(next, &good)).await.0, 0, "a good one is taken");
    assert_eq!(edge.subscriber.status().last_refusal, None);
}

#[tokio::test]
async fn what_is_in_force_is_not_refused_for_its_age() {
    let edge = Edge::start_with(|builder| builder.max_age(Duration::from_secs(1))).await;
    let bytes = push(now(), &database(TABLE));
    assert_eq!(send(&edge, ORIGINAL, &bytes).await.0, 0);
    until("it is too old", || edge.subscriber.status().status == "stale").await;
    assert_eq!(send(&edge, ORIGINAL, &bytes).await, (0, "done".to_owned()));
}

#[tokio::test]
async fn chunks_that_lie_change_nothing() {
    let edge = Edge::start().await;
    let first = now();
    let old = value(1);
    assert_eq!(send(&edge, ORIGINAL, &push(first, &old)).await.0, 0);
    let new = value(2);
    let count = new.len().div_ceil(4096);
    let head = push_of(&description(first + 1, &new), b"");
    let chunk_hash = |chunk: &[u8]| digest(&SHA256, chunk).as_ref()[..16].to_vec();
    let true_hashes: Vec<u8> = new.chunks(4096).flat_map(chunk_hash).collect();
    let old_hashes: Vec<u8> = old.chunks(4096).flat_map(chunk_hash).collect();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    for (label, hashes, body, problem) in [
        ("too few hashes", &true_hashes[..16], Vec::new(), "incomplete"),
        ("hashes of the old file", &old_hashes[..], zstd(b""), "hash"),
        ("hashes of nothing", &vec![0; count * 16][..], zstd(&old), "hash"),
        ("no zstd", &true_hashes, new.clone(), "incomplete"),
        ("a cut transfer", &true_hashes, zstd(&new)[..1000].to_vec(), "incomplete"),
        ("too much", &true_hashes, zstd(&[&new[..], b"more"].concat()), "longer"),
        (
            "a window of 128 MiB",
            &true_hashes,
            b"\x28\xb5\x2f\xfd\x00\x88\x00\x00\x00".to_vec(),
            "incomplete",
        ),
    ] {
        let bytes = [&head[..], hashes, &body].concat();
        let (code, text) = send(&edge, CHUNKS, &bytes).await;
        assert!(code == 1 && text.contains(problem), "{label}: {code} {text}");
        assert_eq!(
            (number(&edge.reader(), VALUE), is_sound(&edge.reader())),
            (Ok(1), true),
            "{label}"
        );
        assert_eq!(edge.stray_files(), [""; 0], "{label}");
    }
    let honest = [&head[..], &true_hashes, &zstd(&new)].concat();
    let (code, text) = send(&edge, CHUNKS, &honest).await;
    assert_eq!(
        (code, &*text),
        (1, "it is longer than it says"),
        "the chunks that are there were sent"
    );
}

#[tokio::test]
async fn two_pushes_at_once_leave_one_of_them() {
    let edge = Edge::start().await;
    let first = now() - 100_000;
    for round in 0..8 {
        let (one, two) = (value(2 * round + 1), value(2 * round + 2));
        let version = first + 10 * round;
        let pushes = (push(version, &one), push(version + 1, &two));
        let (a, b) =
            tokio::join!(send(&edge, ORIGINAL, &pushes.0), send(&edge, ORIGINAL, &pushes.1));
        assert_eq!(b.0, 0, "the newer one is taken: {}", b.1);
        assert!(a.0 == 0 || a.1.contains("newer"), "{}", a.1);
        let reader = edge.reader();
        assert_eq!((number(&reader, VALUE), is_sound(&reader)), (Ok(2 * round + 2), true));
    }
    until("nothing is left", || edge.stray_files().is_empty()).await;
}

#[tokio::test]
async fn one_peer_cannot_keep_the_others_out() {
    let edge = Edge::start().await;
    let good = push(now(), &value(1));
    let (_endpoint, stalled) = connect(edge.listener.address(), &edge.identity, ORIGINAL).await;
    let (mut writer, _reader) = stalled.open_bi().await.unwrap();
    writer.write_all(&good[..1000]).await.unwrap();
    let (code, text) = send(&edge, ORIGINAL, &good).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = verdict(&stalled).await;
    assert!(code == 1 && text.contains("incomplete"), "silence ends a push: {text}");
}

#[tokio::test]
async fn a_publisher_killed_at_any_byte_leaves_the_old_snapshot() {
    let edge = Edge::start().await;
    let first = now();
    assert_eq!(send(&edge, ORIGINAL, &push(first, &value(1))).await.0, 0);
    let bytes = push(first + 1, &value(2));
    for round in 0..100 {
        let at = bytes.len() * round / 100;
        let (_endpoint, connection) =
            connect(edge.listener.address(), &edge.identity, ORIGINAL).await;
        let (mut writer, _reader) = connection.open_bi().await.unwrap();
        writer.write_all(&bytes[..at]).await.unwrap();
        connection.close(7_u32.into(), b"killed");
        assert_eq!(number(&edge.reader(), VALUE), Ok(1), "at byte {at}");
    }
    until("nothing is left", || edge.stray_files().is_empty()).await;
    assert!(is_sound(&edge.reader()));
    assert_eq!(send(&edge, ORIGINAL, &bytes).await.0, 0);
}

/// A subscriber in a second process.
struct Replica {
    child: Child,
    address: String,
}

impl Replica {
    async fn start(dir: &Path, identity: &Identity, files: &Files) -> Self {
        let (cert, key) =
            (files.write("r.pem", &identity.cert), files.write("r.key", &identity.key));
        let mut child = Command::new(env!("CARGO_BIN_EXE_replica"))
            .args([dir, &cert, &key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        Self { child, address: line.trim().to_owned() }
    }
}

#[tokio::test]
async fn a_subscriber_killed_at_any_byte_has_the_old_snapshot_or_the_new_one() {
    let (dir, files) = (tempfile::tempdir().unwrap(), Files::new());
    let identity = Identity::new(None, "localhost", |_| {});
    let first = now() - 1_000_000;
    let mut in_force = 0;
    for round in 0..100 {
        let mut replica = Replica::start(dir.path(), &identity, &files).await;
        let bytes = push(first + round, &value(round + 1));
        let at = bytes.len() * usize::try_from(round + 10).unwrap() / 100;
        let (_endpoint, connection) = connect(&replica.address, &identity, ORIGINAL).await;
        let (mut writer, _reader) = connection.open_bi().await.unwrap();
        writer.write_all(&bytes[..at.min(bytes.len())]).await.unwrap();
        if at >= bytes.len() {
            writer.finish().unwrap();
            // Killed somewhere between the last byte and the verdict.
            for _ in 0..round % 10 {
                tokio::task::yield_now().await;
            }
        }
        replica.child.kill().await.unwrap();
        let subscriber = Subscriber::builder(dir.path()).open().await.unwrap();
        let now = subscriber.reader().ok().map(|reader| {
            assert!(is_sound(&reader));
            assert_eq!(stray_files(dir.path(), &reader), [""; 0]);
            number(&reader, VALUE).unwrap()
        });
        let now = now.unwrap_or_default();
        assert!(now == in_force || now == round + 1, "{now} after {in_force} and {}", round + 1);
        in_force = now;
    }
}
