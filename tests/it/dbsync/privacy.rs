//! What the filter hides is nowhere in the bytes of a snapshot.

use super::*;

/// Text that must stay at home contains this.
const CANARY: &str = "CANARY";

const SCHEMA: &str = "
    CREATE TABLE customers (
        id INTEGER PRIMARY KEY, city TEXT NOT NULL COLLATE NOCASE,
        email TEXT NOT NULL UNIQUE DEFAULT 'CANARY default' CHECK (email <> 'CANARY check'),
        note TEXT, score REAL NOT NULL, kind TEXT GENERATED ALWAYS AS (note || 'CANARY expression')
    );
    CREATE INDEX by_city ON customers (city);
    CREATE INDEX by_note ON customers (note) WHERE note <> 'CANARY of a partial index';
    CREATE INDEX by_expression ON customers (city || 'CANARY of an index');
    CREATE TABLE keyed (code TEXT PRIMARY KEY, value INT) WITHOUT ROWID;
    CREATE TABLE numbered (id INTEGER PRIMARY KEY AUTOINCREMENT, value INT);
    CREATE TABLE flagged (text TEXT, public BOOL);
    CREATE TABLE secrets (token TEXT);
    CREATE TABLE published_log (text TEXT);
    CREATE VIEW v AS SELECT 'CANARY of a view' FROM secrets;
    CREATE TRIGGER on_delete AFTER DELETE ON flagged
        BEGIN INSERT INTO published_log VALUES (old.text || 'CANARY of a trigger'); END;
    CREATE VIRTUAL TABLE search USING fts5(text);

    INSERT INTO customers (id, city, email, note, score)
        VALUES (424242001, 'Bern', 'a@CANARY', 'CANARY note', 0.125), (424242002, 'Chur', 'b@CANARY', NULL, 0.25);
    INSERT INTO keyed VALUES ('CANARY key', 1), ('CANARY other key', 2);
    INSERT INTO numbered VALUES (7, 70);
    INSERT INTO flagged VALUES ('shown', 1), ('CANARY false', 0), ('CANARY null', NULL);
    INSERT INTO secrets VALUES ('CANARY token');
    INSERT INTO search VALUES ('CANARY of a search');
    INSERT INTO published_log SELECT hex(randomblob(500)) || 'CANARY of a freed page' FROM customers, customers, customers;
    DELETE FROM published_log;
    INSERT INTO published_log VALUES ('kept');
    ANALYZE;
";

#[tokio::test]
async fn no_canary_is_in_a_snapshot() {
    let (source, edge) = (Source::new(SCHEMA), Edge::start().await);
    assert!(
        String::from_utf8_lossy(&std::fs::read(source.path()).unwrap()).contains(CANARY) || {
            source.run("PRAGMA wal_checkpoint(TRUNCATE)");
            String::from_utf8_lossy(&std::fs::read(source.path()).unwrap()).contains(CANARY)
        }
    );
    let filter = Filter::new()
        .columns("customers", ["city", "score"])
        .columns("keyed", ["value"])
        .columns("numbered", ["value"])
        .rows("flagged", "public")
        .table("published_log");
    let _publisher = source.publish(filter, &edge).await;
    edge.sees("SELECT count(*) FROM customers", 2).await;
    let reader = edge.reader();
    let bytes = std::fs::read(reader.path()).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let around = text.find(CANARY).map(|at| text[at..].chars().take(60).collect::<String>());
    assert_eq!(around, None, "a canary is out");
    for id in [424_242_001_u32, 424_242_002] {
        assert!(!bytes.windows(4).any(|bytes| bytes == id.to_be_bytes()), "a key is out: {id}");
    }

    let ask = |sql: &str| number(&reader, sql).unwrap();
    assert_eq!(ask("SELECT count(*) FROM customers WHERE city = 'BERN' AND score = 0.125"), 1);
    assert_eq!(
        ask("SELECT count(*) FROM customers WHERE email = '' AND note IS NULL AND id IS NULL"),
        2
    );
    assert_eq!(ask("SELECT sum(value) FROM keyed"), 3);
    assert_eq!(ask("SELECT sum(value) FROM numbered WHERE id IS NULL"), 70);
    assert_eq!(ask("SELECT count(*) FROM flagged"), 1);
    assert_eq!(ask("SELECT count(*) FROM published_log"), 1);
    assert_eq!(ask("SELECT count(*) FROM sqlite_schema WHERE type IN ('view', 'trigger')"), 0);
    assert_eq!(ask("SELECT count(*) FROM sqlite_schema WHERE name = 'by_city'"), 1);
    let check: String = reader.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn a_whole_table_keeps_its_schema() {
    let source = Source::new(
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL UNIQUE COLLATE NOCASE, c INT AS (a + 1) STORED) STRICT;
         CREATE INDEX by_c ON t (c DESC) WHERE c > 1;
         CREATE TABLE \"a \"\"b\" (x, PRIMARY KEY (x)) WITHOUT ROWID;
         INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'); INSERT INTO \"a \"\"b\" VALUES (x'00'), ('é')",
    );
    let edge = Edge::start().await;
    let filter = Filter::new().rows("t", "a > 1 -- the rest is old").table("a \"b");
    let _publisher = source.publish(filter, &edge).await;
    edge.sees("SELECT sum(c) FROM t", 3).await;
    let schema = |connection: &rusqlite::Connection| {
        let sql =
            "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)";
        connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
    };
    let reader = edge.reader();
    assert_eq!(schema(&reader), schema(&source.connection));
    assert_eq!(number(&reader, "SELECT count(*) FROM t WHERE b = 'Y'"), Ok(1));
    assert_eq!(number(&reader, "SELECT count(*) FROM \"a \"\"b\""), Ok(2));
}

#[tokio::test]
async fn any_encoding_and_page_size_is_kept() {
    for (encoding, page_size) in [("UTF-16le", 512), ("UTF-16be", 65_536), ("UTF-8", 8192)] {
        let source = {
            let dir = tempfile::tempdir().unwrap();
            let connection = rusqlite::Connection::open(dir.path().join("shop.db")).unwrap();
            let pragmas = format!("PRAGMA encoding = '{encoding}'; PRAGMA page_size = {page_size}");
            connection.execute_batch(&pragmas).unwrap();
            connection
                .execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES ('é😀', 1)")
                .unwrap();
            Source { dir, connection }
        };
        let edge = Edge::start().await;
        let _publisher = source.publish(Filter::new().columns("t", ["a"]), &edge).await;
        edge.sees("SELECT count(*) FROM t WHERE a = 'é😀' AND b IS NULL", 1).await;
        assert_eq!(number(&edge.reader(), "PRAGMA page_size"), Ok(page_size), "{encoding}");
    }
}
