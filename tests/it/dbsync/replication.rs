//! From a commit to a query in another process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use connectivity_core::dbsync::{Filter, Publisher, Subscriber, SyncError};

use super::*;

const SHOP: &str = "CREATE TABLE products (id INTEGER PRIMARY KEY, price INT NOT NULL);
                    CREATE TABLE secrets (token TEXT);
                    INSERT INTO products VALUES (1, 10), (2, 20); INSERT INTO secrets VALUES ('x')";
const SUM: &str = "SELECT sum(price) FROM products";

#[tokio::test]
async fn a_commit_reaches_the_reader_of_another_database() {
    let (source, edge) = (Source::new(SHOP), Edge::start().await);
    assert!(matches!(edge.subscriber.reader(), Err(SyncError::NoSnapshot)));
    let publisher = source.publish(Filter::new().table("PRODUCTS"), &edge).await;
    edge.sees(SUM, 30).await;
    let before = edge.reader();
    source.run("UPDATE products SET price = 100 WHERE id = 1");
    edge.sees(SUM, 120).await;
    assert_eq!(number(&before, SUM), Ok(30), "a reader sees one snapshot");
    assert!(!before.is_current() && edge.reader().is_current());
    assert!(number(&edge.reader(), "SELECT count(*) FROM secrets").is_err());
    assert!(edge.reader().execute("DELETE FROM products", []).is_err());
    let status = publisher.status();
    let (snapshot, target) = (status.last_snapshot.unwrap(), &status.targets[0]);
    until("the target is known to have it", || {
        publisher.status().targets[0].delivered == Some(snapshot.version)
    })
    .await;
    assert_eq!(target.endpoint, edge.listener.address());
    assert_eq!(edge.subscriber.status().last_hash, Some(snapshot.hash));
    drop(before);
    until("the file of the old snapshot is gone", || edge.stray_files().is_empty()).await;
}

#[tokio::test]
async fn what_the_filter_hides_may_change_without_a_new_snapshot() {
    let (source, edge) = (Source::new(SHOP), Edge::start().await);
    let publisher = source.publish(Filter::new().table("products"), &edge).await;
    edge.sees(SUM, 30).await;
    let first = publisher.status().last_snapshot.unwrap();
    source.run("INSERT INTO secrets VALUES ('y')");
    source.run("UPDATE products SET price = 11 WHERE id = 1");
    edge.sees(SUM, 31).await;
    source.run("UPDATE products SET price = 10 WHERE id = 1");
    edge.sees(SUM, 30).await;
    let last = publisher.status().last_snapshot.unwrap();
    assert_eq!(first.hash, last.hash, "equal data make equal files");
    assert!(first.version < last.version);
}

#[tokio::test]
async fn a_target_that_was_down_gets_the_newest_snapshot() {
    let (source, edge) = (Source::new(SHOP), Edge::start().await);
    let publisher = source.publish(Filter::new().table("products"), &edge).await;
    edge.sees(SUM, 30).await;
    let Edge { dir, identity, subscriber, listener } = edge;
    let address = listener.address().to_owned();
    listener.shutdown(Duration::ZERO).await;
    let version = || publisher.status().last_snapshot.map(|snapshot| snapshot.version);
    for price in [40, 50, 60] {
        let before = version();
        source.run(&format!("UPDATE products SET price = {price}"));
        until("a snapshot is made", || version() > before).await;
    }
    assert_eq!(number(&subscriber.reader().unwrap(), SUM), Ok(30));
    assert!(publisher.status().targets[0].delivered < version());
    let listener = subscriber.listen(address, tls(&identity)).await.unwrap();
    let edge = Edge { dir, identity, subscriber, listener };
    edge.sees(SUM, 120).await;
}

#[tokio::test]
async fn steady_writes_keep_no_snapshot_from_being_made() {
    let (source, edge) = (Source::new(SHOP), Edge::start().await);
    let versions = Arc::new(AtomicUsize::new(0));
    let _publisher = source.publish(Filter::new().table("products"), &edge).await;
    edge.sees(SUM, 30).await;
    let (writing, seen) = (Arc::new(AtomicBool::new(true)), Arc::clone(&versions));
    let (go_on, path) = (Arc::clone(&writing), source.path());
    let writer = std::thread::spawn(move || {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        // Without a pause of the length that a copy waits for.
        while go_on.load(Ordering::Relaxed) {
            connection.execute("UPDATE products SET price = price + 1", []).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let mut last = edge.reader().snapshot().version;
    until("three snapshots while the database is never quiet", || {
        let version = edge.reader().snapshot().version;
        seen.fetch_add(
            usize::from(std::mem::replace(&mut last, version) != version),
            Ordering::Relaxed,
        );
        seen.load(Ordering::Relaxed) >= 3
    })
    .await;
    writing.store(false, Ordering::Relaxed);
    writer.join().unwrap();
}

#[tokio::test]
async fn readers_see_whole_snapshots_over_a_hundred_swaps() {
    let source = Source::new(
        "CREATE TABLE t (v INT); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 500) INSERT INTO t SELECT 0 FROM n",
    );
    let edge = Edge::start().await;
    let builder = Publisher::builder(source.path(), Filter::new().table("t"));
    let builder = builder.settle(Duration::ZERO, Duration::ZERO);
    let _publisher = builder.target(edge.listener.address(), edge.trust()).start().await.unwrap();
    edge.sees("SELECT max(v) FROM t", 0).await;
    let done = Arc::new(AtomicBool::new(false));
    let queries = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (subscriber, done, queries) =
                (edge.subscriber.clone(), Arc::clone(&done), Arc::clone(&queries));
            std::thread::spawn(move || {
                let mut reader = subscriber.reader().unwrap();
                while !done.load(Ordering::Relaxed) || queries.load(Ordering::Relaxed) < 10_000 {
                    if !reader.is_current() {
                        reader = subscriber.reader().unwrap();
                    }
                    assert_eq!(number(&reader, "SELECT count(DISTINCT v) FROM t"), Ok(1));
                    queries.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for value in 1..=100 {
        source.run(&format!("UPDATE t SET v = {value}"));
        edge.sees("SELECT max(v) FROM t", value).await;
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().expect("no query failed, and none saw two snapshots");
    }
    assert!(queries.load(Ordering::Relaxed) >= 10_000);
    until("no file is left of the others", || edge.stray_files().is_empty()).await;
}

#[tokio::test]
async fn both_sides_go_on_after_a_restart_where_they_were() {
    let (source, edge) = (Source::new(SHOP), Edge::start().await);
    let publisher = source.publish(Filter::new().table("products"), &edge).await;
    edge.sees(SUM, 30).await;
    let first = edge.reader().snapshot().clone();
    drop(publisher);
    let again = source.publish(Filter::new().table("products"), &edge).await;
    until("it was asked", || again.status().targets[0].delivered.is_some()).await;
    let delivered = again.status().targets[0].delivered;
    assert_eq!(delivered, Some(first.version), "equal data, no new version");
    source.run("DELETE FROM products WHERE id = 1");
    edge.sees(SUM, 20).await;
    assert!(edge.reader().snapshot().version > first.version);
    let Edge { dir, subscriber, listener, .. } = edge;
    listener.shutdown(Duration::ZERO).await;
    drop(subscriber);
    let opened = Subscriber::builder(dir.path()).open().await.unwrap();
    assert_eq!(number(&opened.reader().unwrap(), SUM), Ok(20));
}

#[tokio::test]
async fn the_application_hears_of_each_snapshot_and_may_call_back() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let own = Arc::new(std::sync::OnceLock::<Subscriber>::new());
    let (hearing, calling) = (Arc::clone(&heard), Arc::clone(&own));
    let edge = Edge::start_with(|builder| {
        builder.on_swap(move |snapshot| {
            let reader = calling.wait().reader().unwrap();
            hearing.lock().unwrap().push((snapshot.version, number(&reader, SUM).unwrap()));
            assert!(snapshot.version == 0, "a function that panics harms nobody");
        })
    })
    .await;
    own.set(edge.subscriber.clone()).unwrap();
    let source = Source::new(SHOP);
    let _publisher = source.publish(Filter::new().table("products"), &edge).await;
    until("the first was heard of", || heard.lock().unwrap().len() == 1).await;
    source.run("UPDATE products SET price = 1");
    until("both were heard of", || heard.lock().unwrap().len() == 2).await;
    assert_eq!(heard.lock().unwrap().iter().map(|(_, sum)| *sum).collect::<Vec<_>>(), [30, 2]);
}

#[tokio::test]
async fn an_application_that_blocks_keeps_no_snapshot_out() {
    let (hearing, heard) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let edge = Edge::start_with(|builder| {
        builder.on_swap(move |snapshot| {
            hearing.send(snapshot.version).unwrap();
            let _ = wait.lock().unwrap().recv();
        })
    })
    .await;
    let source = Source::new(SHOP);
    let _publisher = source.publish(Filter::new().table("products"), &edge).await;
    for price in 1..=5 {
        source.run(&format!("UPDATE products SET price = {price}"));
        edge.sees(SUM, 2 * price).await;
    }
    let last = edge.reader().snapshot().version;
    drop(go_on);
    let mut heard_of = 0;
    until("the last one is heard of", || {
        heard_of = heard.try_recv().unwrap_or(heard_of);
        heard_of == last
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_lost_its_files_gets_them_again() {
    let (source, edge) = (Source::new(SHOP), Edge::start().await);
    let builder = Publisher::builder(source.path(), Filter::new().table("products"));
    let builder = builder.offer_again(Duration::from_millis(50));
    let publisher = builder.target(edge.listener.address(), edge.trust()).start().await.unwrap();
    edge.sees(SUM, 30).await;
    let delivered = || publisher.status().targets[0].delivered;
    until("it is delivered", || delivered().is_some()).await;
    let Edge { dir, identity, subscriber, listener } = edge;
    let (address, before) = (listener.address().to_owned(), delivered());
    listener.shutdown(Duration::ZERO).await;
    drop(subscriber);
    drop(dir);
    let dir = tempfile::tempdir().unwrap();
    let subscriber = Subscriber::builder(dir.path()).open().await.unwrap();
    let listener = subscriber.listen(address, tls(&identity)).await.unwrap();
    let edge = Edge { dir, identity, subscriber, listener };
    edge.sees(SUM, 30).await;
    assert_eq!(delivered(), before, "equal data, no new version");
}

#[tokio::test]
async fn a_filter_that_does_not_fit_is_refused_at_start() {
    let source = Source::new(
        "CREATE TABLE products (id, price); CREATE VIEW v AS SELECT * FROM products; CREATE VIRTUAL TABLE f USING fts5(a)",
    );
    let f = Filter::new;
    for (filter, problem) in [
        (f(), "publishes no table"),
        (f().table("product"), "no such table"),
        (f().table("v"), "it is a view"),
        (f().table("f"), "it is a virtual table"),
        (f().table("f_content"), "belongs to a virtual table"),
        (f().table("sqlite_schema"), "a table of SQLite itself"),
        (f().table("products").rows("Products", "1"), "names it twice"),
        (f().rows("products", "prize > 1"), "no such column: prize"),
        (f().columns("products", ["id", "prize"]), "no column `prize`"),
        (f().columns("products", [""; 0]), "keeps no column"),
    ] {
        let error = Publisher::builder(source.path(), filter).start().await.unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    let missing = source.dir.path().join("missing.db");
    let error = Publisher::builder(&missing, f().table("products")).start().await.unwrap_err();
    assert!(error.to_string().contains("missing.db"), "{error}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_table_that_is_dropped_is_told_and_the_replica_stays() {
    let (source, edge) = (Source::new(SHOP), Edge::start().await);
    let publisher = source.publish(Filter::new().table("products"), &edge).await;
    edge.sees(SUM, 30).await;
    source.run("ALTER TABLE products RENAME TO goods");
    until("the fault is told", || publisher.status().error.is_some()).await;
    let error = publisher.status().error.unwrap();
    assert!(error.contains("products") && error.contains("no such table"), "{error}");
    assert_eq!(number(&edge.reader(), SUM), Ok(30));
    source.run("ALTER TABLE goods RENAME TO products; UPDATE products SET price = 1");
    edge.sees(SUM, 2).await;
    assert_eq!(publisher.status().error, None);
}
