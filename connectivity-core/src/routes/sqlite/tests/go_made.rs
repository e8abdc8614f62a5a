//! Files made by the original Go implementation: shared with it, and rebuilt only on request.

use super::super::SqliteRoutes;
use super::{File, name, rows};
use crate::routes::{Field, Route, RouteRow, RouteSource};

/// Returns the schema of the table as the original creates it.
fn table(words: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS routes (
            service_name TEXT PRIMARY KEY,
            strategy     TEXT NOT NULL CHECK(strategy IN ({words})),
            endpoint     TEXT,
            config       TEXT DEFAULT '{{}}',
            updated_at   INTEGER NOT NULL DEFAULT (strftime('%s', 'now'))
        );
        CREATE INDEX IF NOT EXISTS idx_routes_strategy ON routes(strategy);
        CREATE TRIGGER IF NOT EXISTS trg_routes_updated_at AFTER UPDATE ON routes FOR EACH ROW BEGIN
            UPDATE routes SET updated_at = strftime('%s', 'now') WHERE service_name = NEW.service_name;
        END;"
    )
}

pub(super) const NEWEST: &str = "'local', 'quic', 'http', 'mcp', 'dbsync', 'embed', 'noop'";

const UPSERT: &str = "INSERT INTO routes(service_name, strategy, endpoint, config) VALUES ('billing', 'http', 'http://x/', '{}')
    ON CONFLICT(service_name) DO UPDATE SET strategy = excluded.strategy, endpoint = excluded.endpoint, config = excluded.config";

/// Creates a file that Go made and wrote, including odd rows.
pub(super) fn go_file(words: &str) -> File {
    let file = File::missing();
    file.sql(&table(words)).unwrap();
    file.sql(
        "INSERT INTO routes(service_name, strategy, config) VALUES ('billing', 'local', '{}'), ('with space', 'local', 'no json'),
            (NULL, 'noop', '{}'), (NULL, 'local', '{}')",
    )
    .unwrap();
    file
}

fn words(file: &File) -> String {
    file.connect()
        .query_row("SELECT group_concat(name, ' ') FROM strategies", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn our_tables_stand_beside_and_nothing_is_rewritten() {
    let file = go_file(NEWEST);
    let table = || -> String {
        file.connect()
            .query_row(
                "SELECT rootpage || sql FROM sqlite_schema WHERE name = 'routes'",
                [],
                |row| row.get(0),
            )
            .unwrap()
    };
    let before = table();
    let routes = SqliteRoutes::open(&file.path).unwrap();
    assert_eq!((table(), routes.warnings()), (before, vec![]));
    assert_eq!(words(&file), "dbsync embed http local mcp noop quic");
    assert_eq!(rows(&routes).iter().filter(|row| Route::parse(row).is_ok()).count(), 1);
    routes.add_missing(&[&name("mail")]).unwrap();
    assert_eq!(routes.history(None, 1).unwrap()[0].name, Field::text("mail"));
}

#[test]
fn go_goes_on_writing() {
    let file = go_file(NEWEST);
    let routes = SqliteRoutes::open(&file.path).unwrap();
    for sql in [
        &*table(NEWEST),
        UPSERT,
        "UPDATE routes SET strategy = 'noop' WHERE service_name = 'with space'",
        "INSERT INTO routes(service_name, strategy) VALUES ('a/b', 'local')",
        "INSERT INTO routes(service_name, strategy) VALUES ('with space', 'local') ON CONFLICT DO UPDATE SET strategy = 'local'",
        "DELETE FROM routes WHERE service_name = 'with space'",
        "UPDATE routes SET strategy = 'local' WHERE service_name IS NULL",
    ] {
        file.shell(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    assert_eq!(routes.history(Some(&name("billing")), 9).unwrap().len(), 1);
    assert!(rows(&routes).contains(&RouteRow::new("billing", "http", Some("http://x/"), "{}")));
}

#[test]
fn a_typo_and_an_impossible_word_still_get_our_text() {
    let file = go_file(NEWEST);
    let _routes = SqliteRoutes::open(&file.path).unwrap();
    for (sql, expected) in [
        ("UPDATE routes SET strategy = 'unix'", "routes.strategy: unknown strategy"),
        (
            "UPDATE routes SET config = 'x' WHERE service_name = 'billing'",
            "routes.config: must be a JSON object",
        ),
        (
            "INSERT INTO routes(service_name, strategy) VALUES (NULL, 'local')",
            "a name is a text of 1 to 256 bytes",
        ),
        (
            "INSERT INTO routes(service_name, strategy) VALUES ('', 'local')",
            "a name is a text of 1 to 256 bytes",
        ),
        (
            "INSERT INTO routes(service_name, strategy) VALUES ('a' || char(27), 'local')",
            "a name is a text of 1 to 256 bytes",
        ),
        (
            "INSERT INTO routes(service_name, strategy) VALUES ('a' || char(0), 'local')",
            "a name is a text of 1 to 256 bytes",
        ),
        (
            "INSERT INTO routes(service_name, strategy) VALUES (printf('%.*c', 257, 'a'), 'local')",
            "1 to 256 bytes",
        ),
        (
            "UPDATE routes SET service_name = '' WHERE service_name = 'billing'",
            "a name is a text of 1 to 256 bytes",
        ),
    ] {
        let text = file.shell(sql).expect_err(sql);
        assert!(text.contains(expected), "{sql}: {text}");
    }
    let text = file.shell("INSERT INTO strategies(name) VALUES ('mine')").unwrap_err();
    assert!(
        text.contains("made by the Go original") && text.contains("connectivity init --upgrade"),
        "{text}"
    );
}

#[test]
fn a_strategy_that_the_table_cannot_hold_is_a_warning() {
    let file = go_file(NEWEST);
    let routes = SqliteRoutes::open(&file.path).unwrap();
    assert_eq!(routes.add_strategies(&["http", "unix", "mine"]), Ok(()));
    let warnings = routes.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("`unix`, `mine`")
            && warnings[0].contains("connectivity init --upgrade"),
        "{warnings:?}"
    );
    assert_eq!(words(&file), "dbsync embed http local mcp noop quic");
    assert!(routes.add_strategies(&["Not A Word"]).is_err());
    SqliteRoutes::upgrade(&file.path).unwrap();
    assert_eq!(routes.add_strategies(&["unix", "mine"]), Ok(()));
    assert_eq!(routes.warnings(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_router_with_all_its_transports_opens_it() {
    for open_or_create in [false, true] {
        let file = go_file(NEWEST);
        let builder = crate::Router::builder();
        let router = if open_or_create {
            builder.open_or_create(&file.path).await
        } else {
            builder.open(&file.path).await
        };
        let inspection = router.unwrap().inspect();
        assert_eq!(inspection.routes.len(), 4);
        assert_eq!(
            inspection.warnings.len(),
            usize::from(cfg!(feature = "unix")),
            "{:?}",
            inspection.warnings
        );
    }
}

#[test]
fn an_older_go_file_keeps_its_own_words() {
    let file = go_file("'local', 'quic', 'http', 'grpc', 'mcp', 'noop'");
    let routes = SqliteRoutes::open(&file.path).unwrap();
    assert_eq!(words(&file), "grpc http local mcp noop quic");
    file.sql("INSERT INTO routes(service_name, strategy, endpoint) VALUES ('old', 'grpc', 'x:1')")
        .unwrap();
    assert_eq!(routes.warnings(), [] as [&str; 0]);
}

#[test]
fn tables_lost_behind_our_back_come_back() {
    let file = go_file(NEWEST);
    let routes = SqliteRoutes::open(&file.path).unwrap();
    file.sql(&format!("DROP TABLE routes; {}", table("'local', 'noop'"))).unwrap();
    assert!(routes.warnings()[0].starts_with("triggers are missing"));
    SqliteRoutes::open(&file.path).unwrap();
    assert_eq!(routes.warnings(), [] as [&str; 0]);
}

#[test]
fn words_written_into_meta_by_hand_are_never_run() {
    let file = go_file(NEWEST);
    let routes = SqliteRoutes::open(&file.path).unwrap();
    let other = file.dir.path().join("other.db");
    let hostile = format!(
        "x') BEGIN SELECT 1; END; ATTACH '{}' AS o; CREATE TABLE o.t(a); --",
        other.display()
    );
    file.connect().execute("UPDATE meta SET value = ?1 WHERE key = 'go_words'", [hostile]).unwrap();
    assert!(routes.warnings()[0].contains("cn_strategies_go"), "{:?}", routes.warnings());
    assert!(!other.exists());
}

#[test]
fn an_upgrade_makes_room_for_every_strategy_and_keeps_the_rest() {
    let file = go_file(NEWEST);
    let routes = SqliteRoutes::open(&file.path).unwrap();
    file.sql("CREATE INDEX theirs ON routes(endpoint); CREATE TABLE seen(x)").unwrap();
    file.sql(
        "CREATE TRIGGER their_trigger AFTER INSERT ON routes BEGIN INSERT INTO seen VALUES (NEW.service_name); END",
    )
    .unwrap();
    file.sql(UPSERT).unwrap();
    let (generation, before) = (file.generation(), rows(&routes));

    let report = SqliteRoutes::upgrade(&file.path).unwrap();
    assert!(report.rebuilt);
    let left_out = |strategy: &str| {
        RouteRow::from_fields(Field::Null, Field::text(strategy), Field::Null, Field::text("{}"))
    };
    assert_eq!(report.left_out, [left_out("noop"), left_out("local")]);

    let named_rows: Vec<_> = before.into_iter().filter(|row| *row.name() != Field::Null).collect();
    assert_eq!(
        (rows(&routes), file.generation(), routes.warnings()),
        (named_rows, generation, vec![])
    );
    for sql in [
        &*table(NEWEST),
        UPSERT,
        "UPDATE routes SET strategy = 'unix', endpoint = '/run/x' WHERE service_name = 'billing'",
        "INSERT INTO strategies(name) VALUES ('mine')",
        "INSERT INTO routes(service_name, strategy) VALUES ('new', 'mine')",
    ] {
        file.shell(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    assert!(
        file.sql("INSERT INTO routes(service_name, strategy) VALUES ('a/b', 'local')").is_err(),
        "the full rule"
    );
    assert_eq!(file.number("SELECT count(*) FROM seen WHERE x = 'new'"), 1);
    assert_eq!(file.number("SELECT count(*) FROM sqlite_schema WHERE name = 'theirs'"), 1);
    assert_eq!(file.shell("PRAGMA integrity_check"), Ok("ok\n".to_owned()));
    assert!(!SqliteRoutes::upgrade(&file.path).unwrap().rebuilt, "once is enough");
}

#[test]
fn an_upgrade_never_loses_a_column() {
    let file = go_file(NEWEST);
    file.sql("ALTER TABLE routes ADD COLUMN owner TEXT").unwrap();
    let text = SqliteRoutes::upgrade(&file.path).unwrap_err().to_string();
    assert!(text.contains("columns that would be lost: owner"), "{text}");
    let missing = File::missing();
    assert!(SqliteRoutes::upgrade(&missing.path).is_err() && !missing.path.exists());
}

#[test]
fn files_of_both_kinds_in_one_process_are_each_compared_with_their_own_triggers() {
    let (go, (ours, routes)) = (go_file(NEWEST), File::with_schema());
    let go_routes = SqliteRoutes::open(&go.path).unwrap();
    for _ in 0..2 {
        assert_eq!((routes.warnings(), go_routes.warnings()), (vec![], vec![]));
    }
    ours.sql("DROP TRIGGER cn_generation").unwrap();
    go.sql("DROP TRIGGER cn_strategies_go").unwrap();
    let (own_warnings, go_warnings) = (routes.warnings(), go_routes.warnings());
    assert!(
        own_warnings.len() == 1 && own_warnings[0].contains("cn_generation"),
        "{own_warnings:?}"
    );
    assert!(
        go_warnings.len() == 1 && go_warnings[0].contains("cn_strategies_go"),
        "{go_warnings:?}"
    );
}
