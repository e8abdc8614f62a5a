//! Typos fail at the statement that contains them, in any shell; valid statements pass and are
//! counted.

use super::File;
use crate::name::Name;

const NAME: &str = "routes.service_name: a name begins with a letter or digit";
const STRATEGY: &str =
    "routes.strategy: unknown strategy. The words allowed here: SELECT name FROM strategies;";
const CONFIG: &str = r#"routes.config: must be a JSON object such as {"timeout_ms":500}, or NULL"#;

/// Runs one statement on a file with the rows `billing` and `mail`. It must fail with this text, in
/// the linked library and in the old shell.
fn assert_rejected(sql: &str, expected: &str) {
    let (file, _routes) = with_rows();
    let before = file.generation();
    for (client, result) in [("library", file.sql(sql)), ("shell", file.shell(sql).map(drop))] {
        let text = result.expect_err(sql);
        assert!(text.contains(expected), "{client}: {sql}: {text}");
    }
    assert_eq!(file.generation(), before, "{sql}");
}

fn with_rows() -> (File, super::SqliteRoutes) {
    let (file, routes) = File::with_schema();
    file.sql(
        "INSERT INTO routes(service_name, strategy) VALUES ('billing', 'local'), ('mail', 'noop')",
    )
    .unwrap();
    (file, routes)
}

#[test]
fn unknown_strategies_are_refused() {
    for sql in [
        "UPDATE routes SET strategy = 'qiuc' WHERE service_name = 'billing'",
        "UPDATE OR REPLACE routes SET strategy = 'LOCAL'",
        "UPDATE OR IGNORE routes SET strategy = ''",
        "INSERT INTO routes(service_name, strategy) VALUES ('a', 'htpp')",
        "INSERT OR IGNORE INTO routes(service_name, strategy) VALUES ('a', 'htpp')",
        "INSERT OR REPLACE INTO routes(service_name, strategy) VALUES ('billing', 'htpp')",
        "INSERT INTO routes(service_name, strategy) VALUES ('billing', 'x') ON CONFLICT DO UPDATE SET strategy = 'local'",
        "INSERT INTO set_route(service_name, strategy) VALUES ('billing', 'qiuc')",
        "UPDATE routes SET strategy = NULL",
    ] {
        assert_rejected(sql, STRATEGY);
    }
}

#[test]
fn a_config_that_is_no_object_is_refused() {
    for config in
        ["''", "'timeout_ms=500'", "'[]'", "'{a:1}'", "'nul'", "1", "x'7b7d'", "'{}' || char(0)"]
    {
        assert_rejected(
            &format!("UPDATE routes SET config = {config} WHERE service_name = 'billing'"),
            CONFIG,
        );
        assert_rejected(
            &format!(
                "INSERT INTO routes(service_name, strategy, config) VALUES ('a', 'local', {config})"
            ),
            CONFIG,
        );
    }
}

#[test]
fn a_config_of_null_is_what_the_original_writes() {
    let (file, routes) = with_rows();
    for sql in [
        "UPDATE routes SET config = 'null'",
        "INSERT INTO routes(service_name, strategy, config) VALUES ('a', 'local', 'null')",
    ] {
        file.shell(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    assert!(super::rows(&routes).iter().all(|row| crate::routes::Route::parse(row).is_ok()));
}

#[test]
fn no_row_takes_the_place_of_another_name() {
    for sql in [
        "INSERT OR REPLACE INTO routes(rowid, service_name, strategy) SELECT rowid, 'new', 'local' FROM routes WHERE service_name = 'billing'",
        "INSERT OR REPLACE INTO routes(rowid, service_name, strategy) SELECT rowid, 'mail', 'local' FROM routes WHERE service_name = 'billing'",
        "UPDATE OR REPLACE routes SET rowid = (SELECT rowid FROM routes WHERE service_name = 'billing') WHERE service_name = 'mail'",
    ] {
        assert_rejected(sql, "routes.rowid: another route has this number; leave it out");
    }
    let (file, _routes) = with_rows();
    file.sql("INSERT OR REPLACE INTO routes(rowid, service_name, strategy) SELECT rowid, 'billing', 'noop' FROM routes WHERE service_name = 'billing'").unwrap();
    assert_eq!((file.number("SELECT count(*) FROM routes"), file.generation()), (2, 3));
}

#[test]
fn a_table_without_row_numbers_can_be_written() {
    let file = File::missing();
    file.sql("CREATE TABLE routes(service_name TEXT PRIMARY KEY, strategy TEXT, endpoint TEXT, config TEXT, updated_at INTEGER) WITHOUT ROWID").unwrap();
    let routes = super::SqliteRoutes::open(&file.path).unwrap();
    file.sql(
        "INSERT INTO routes(service_name, strategy) VALUES ('billing', 'local'); UPDATE routes SET strategy = 'noop'",
    )
    .unwrap();
    assert_eq!((file.generation(), crate::routes::RouteSource::warnings(&routes)), (2, vec![]));
}

#[test]
fn a_strategy_in_use_is_neither_renamed_nor_removed() {
    for sql in [
        "UPDATE strategies SET name = 'htpp' WHERE name = 'local'",
        "UPDATE OR REPLACE strategies SET name = 'quic' WHERE name = 'local'",
        "DELETE FROM strategies WHERE name = 'local'",
    ] {
        assert_rejected(sql, "strategies: routes still use this strategy; move them first");
    }
    let (file, _routes) = with_rows();
    file.sql("INSERT INTO strategies VALUES ('mine'); UPDATE strategies SET name = 'ours' WHERE name = 'mine'")
        .unwrap();
}

#[test]
fn set_route_keeps_what_is_not_stated() {
    let (file, routes) = with_rows();
    let billing = || super::rows(&routes).remove(0);
    let set = |columns: &str, values: &str| {
        file.shell(&format!(
            "INSERT INTO set_route(service_name, {columns}) VALUES ('billing', {values})"
        ))
        .unwrap();
    };
    set("strategy, endpoint, config", r#"'http', 'http://x/', '{"timeout_ms":5}'"#);
    set("strategy", "'local'");
    assert_eq!(
        billing(),
        crate::routes::RouteRow::new("billing", "local", Some("http://x/"), r#"{"timeout_ms":5}"#)
    );
    set("strategy, endpoint", "'local', ''");
    assert_eq!(
        billing(),
        crate::routes::RouteRow::new("billing", "local", None, r#"{"timeout_ms":5}"#)
    );
}

#[test]
fn bad_names_are_refused() {
    for bad in [
        "NULL",
        "''",
        "'bill ing'",
        "'a/b'",
        "'a..b'",
        "'a.'",
        "'.a'",
        "'-a'",
        "'é'",
        "x'61'",
        "'a' || char(0)",
        "'a' || char(10)",
        "printf('%.*c', 257, 'a')",
    ] {
        assert_rejected(
            &format!("INSERT INTO routes(service_name, strategy) VALUES ({bad}, 'local')"),
            NAME,
        );
        assert_rejected(
            &format!("UPDATE routes SET service_name = {bad} WHERE service_name = 'billing'"),
            NAME,
        );
    }
    assert_rejected(
        "UPDATE OR REPLACE routes SET service_name = 'mail' WHERE service_name = 'billing'",
        "another route has this name",
    );
}

/// Returns all texts of one to three of these characters, and some of lengths around the limit.
fn candidates() -> impl Iterator<Item = String> {
    const CHARS: [char; 11] = ['a', 'Z', '0', '_', '.', ':', '-', ' ', 'é', '\n', '\0'];
    let one = || CHARS.into_iter().map(String::from);
    let longer = |shorter: Vec<String>| {
        shorter.into_iter().flat_map(|text| CHARS.map(|char| format!("{text}{char}"))).collect()
    };
    let two: Vec<_> = longer(one().collect());
    let three: Vec<_> = longer(two.clone());
    let long = (255..=257).map(|length| "a".repeat(length));
    one().chain(two).chain(three).chain(long)
}

#[test]
fn the_table_takes_exactly_the_names_that_parse() {
    let (file, _routes) = File::with_schema();
    let writer = file.connect();
    writer.execute_batch("BEGIN").unwrap();
    let insert = "INSERT INTO routes(service_name, strategy) VALUES (?1, 'local')";
    for name in candidates() {
        let is_taken = writer.execute(insert, [&name]).is_ok();
        assert_eq!(is_taken, Name::parse(&name).is_ok(), "{name:?}");
    }
}

#[test]
fn set_route_refuses_a_name_that_is_not_there() {
    assert_rejected(
        "INSERT INTO set_route(service_name, strategy) VALUES ('biling', 'local')",
        "set_route: no route of this name",
    );
}

#[test]
fn a_strategy_in_use_cannot_be_deleted() {
    assert_rejected(
        "DELETE FROM strategies WHERE name = 'local'",
        "strategies: routes still use this strategy",
    );
}

/// Each statement with the expected increase of the generation.
#[test]
fn only_a_real_change_counts() {
    let (file, _routes) = with_rows();
    for (sql, steps) in [
        (
            "UPDATE routes SET strategy = 'quic', endpoint = '10.0.0.5:4433' WHERE service_name = 'billing'",
            1,
        ),
        ("UPDATE routes SET strategy = 'quic' WHERE service_name = 'billing'", 0),
        ("UPDATE routes SET updated_at = 1", 0),
        (
            "UPDATE routes SET config = json_set(config, '$.timeout_ms', 500) WHERE service_name = 'billing'",
            1,
        ),
        ("UPDATE routes SET config = NULL WHERE service_name = 'billing'", 1),
        ("INSERT INTO routes(service_name, strategy) VALUES ('a.b:c-d_e', 'unix')", 1),
        ("INSERT OR REPLACE INTO routes(service_name, strategy) VALUES ('billing', 'local')", 1),
        ("INSERT OR REPLACE INTO routes(service_name, strategy) VALUES ('billing', 'local')", 0),
        ("INSERT OR IGNORE INTO routes(service_name, strategy) VALUES ('billing', 'noop')", 0),
        (
            "INSERT INTO routes(service_name, strategy) VALUES ('mail', 'local') ON CONFLICT DO UPDATE SET strategy = excluded.strategy",
            1,
        ),
        (
            "INSERT INTO set_route(service_name, strategy, endpoint) VALUES ('mail', 'http', 'http://x/')",
            1,
        ),
        ("UPDATE routes SET service_name = 'post' WHERE service_name = 'mail'", 2),
        ("BEGIN; UPDATE routes SET strategy = 'noop'; ROLLBACK", 0),
        ("SAVEPOINT s; UPDATE routes SET strategy = 'noop'; ROLLBACK TO s; RELEASE s", 0),
        ("DELETE FROM routes WHERE service_name = 'post'", 1),
        ("DELETE FROM routes WHERE service_name = 'post'", 0),
        ("DELETE FROM routes", 2),
    ] {
        let before = file.generation();
        file.sql(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(file.generation() - before, steps, "{sql}");
    }
}

#[test]
fn the_headline_update_works_from_the_shell_and_shows_its_row() {
    let (file, _routes) = with_rows();
    let output = file.shell(
        "UPDATE routes SET strategy='quic', endpoint='10.0.0.5:4433' WHERE service_name='billing' RETURNING service_name, strategy",
    );
    assert_eq!(output, Ok("billing|quic\n".to_owned()));
    assert_eq!(
        file.shell("UPDATE routes SET strategy='quic' WHERE service_name='biling' RETURNING 1"),
        Ok(String::new())
    );
}

#[test]
fn updated_at_follows_every_change() {
    let (file, _routes) = with_rows();
    file.sql("UPDATE routes SET updated_at = 1").unwrap();
    file.shell("UPDATE routes SET strategy = 'noop' WHERE service_name = 'billing'").unwrap();
    assert_eq!(file.number("SELECT count(*) FROM routes WHERE updated_at > 1"), 1);
}

#[test]
fn history_is_bounded() {
    let (file, _routes) = with_rows();
    file.sql("UPDATE meta SET value = 50 WHERE key = 'history_keep'").unwrap();
    let flips =
        "UPDATE routes SET strategy = 'local'; UPDATE routes SET strategy = 'noop';".repeat(100);
    file.sql(&format!("BEGIN; {flips} COMMIT")).unwrap();
    assert!(file.generation() > 300);
    assert!(file.number("SELECT count(*) FROM route_history") < 150);
}
