//! Reading rows, valid or not; adding rows and strategies; reading the history.

use std::time::{Duration, SystemTime};

use rusqlite::params;

use super::super::store::{Access, Store};
use super::super::stores::share;
use super::{File, name, rows};
use crate::routes::{Added, ChangeKind, Field, Route, RouteRow, RouteSource, SqliteRoutes};

/// Values of every SQLite kind, with the field that each becomes.
const HOSTILE: &[(&str, Field)] = &[
    ("NULL", Field::Null),
    ("x'00ff'", Field::Other { what: "a blob" }),
    ("zeroblob(20000000)", Field::Other { what: "longer than 1 MiB" }),
    ("CAST(x'ff61' AS TEXT)", Field::Other { what: "text that is not UTF-8" }),
    ("CAST(zeroblob(16777216) AS TEXT)", Field::Other { what: "longer than 1 MiB" }),
];

#[test]
fn a_hostile_value_spoils_only_its_row() {
    for (index, column) in
        ["service_name", "strategy", "endpoint", "config"].into_iter().enumerate()
    {
        for (value, expected) in HOSTILE {
            let (file, routes) = unchecked_table();
            let values: Vec<&str> = ["'bad'", "'http'", "'http://x/'", "'{}'"]
                .into_iter()
                .enumerate()
                .map(|(n, v)| if n == index { value } else { v })
                .collect();
            file.sql(&format!(
                "INSERT INTO routes(service_name, strategy, endpoint, config) VALUES ({})",
                values.join(",")
            ))
            .unwrap();
            let rows = rows(&routes);
            let invalid_row = rows.iter().find(|row| row.shown_name() != "good").unwrap();
            let fields = [
                invalid_row.name(),
                invalid_row.strategy(),
                invalid_row.endpoint(),
                invalid_row.config(),
            ];
            assert_eq!(fields[index], expected, "{column} = {value}");
            let may_be_null = column == "config" && *expected == Field::Null;
            assert_eq!(Route::parse(invalid_row).is_ok(), may_be_null, "{column} = {value}");
            assert!(rows.iter().any(|row| Route::parse(row).is_ok_and(|route| route.name().as_str() == "good")));
        }
    }
}

/// Creates a table that accepts any value, with one valid row: what raw writes into a damaged file
/// can leave behind.
fn unchecked_table() -> (File, SqliteRoutes) {
    let file = File::missing();
    file.sql(
        "CREATE TABLE routes(service_name, strategy, endpoint, config);
         INSERT INTO routes VALUES ('good', 'local', NULL, '{}')",
    )
    .unwrap();
    let routes = SqliteRoutes::open_read_only(&file.path).unwrap();
    (file, routes)
}

#[test]
fn numbers_are_not_taken_for_text() {
    let (file, routes) = unchecked_table();
    file.sql("INSERT INTO routes VALUES (1, 2.5, 1e308, -1)").unwrap();
    let number = Field::Other { what: "a number" };
    let expected = RouteRow::from_fields(number.clone(), number.clone(), number.clone(), number);
    assert!(rows(&routes).contains(&expected));
}

#[test]
fn a_row_without_a_name_does_not_stop_the_rest() {
    let (file, routes) = File::with_schema();
    routes.add_missing(&[&name("billing")]).unwrap();
    let writer = file.connect();
    writer
        .execute_batch("DROP TRIGGER cn_routes_check_insert; PRAGMA ignore_check_constraints = ON")
        .unwrap();
    writer
        .execute_batch(
            "INSERT INTO routes(service_name, strategy) VALUES ('', 'local'), (x'00', 'nonsense')",
        )
        .unwrap();
    let good = rows(&routes).iter().filter(|row| Route::parse(row).is_ok()).count();
    assert_eq!((rows(&routes).len(), good), (3, 1));
}

/// Long enough for the other limits to be reached first on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Creates a file whose `routes` is a view of this query.
fn view(query: &str) -> (File, SqliteRoutes) {
    let file = File::missing();
    file.sql(&format!("CREATE VIEW routes(service_name, strategy, endpoint, config) AS {query}"))
        .unwrap();
    let store = Store::open(&file.path, Access::ReadOnly).unwrap().with_read_limit(PATIENCE);
    (file, SqliteRoutes { store: share(store) })
}

const ENDLESS: &str = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)";

#[test]
fn a_view_without_end_is_refused_and_not_kept_in_memory() {
    let (_file, routes) = view(&format!(
        "{ENDLESS} SELECT 'a' || n, 'local', NULL, printf('%.*c', 1000000, 'x') FROM n"
    ));
    let text = routes.read().unwrap_err().to_string();
    assert!(
        text.contains("routes.db: ") && text.contains("the rows hold more than 256 MiB"),
        "{text}"
    );
    let (_file, routes) = view(&format!("{ENDLESS} SELECT NULL, NULL, NULL, NULL FROM n"));
    let text = routes.read().unwrap_err().to_string();
    assert!(text.contains("there are more than 1000000 rows"), "{text}");
    assert!(routes.warnings()[0].contains("there are more than 1000000 rows"));
}

#[test]
fn a_value_that_a_view_makes_is_bounded() {
    let view_of_length =
        |length: u32| view(&format!("SELECT 'a', 'local', NULL, printf('%.*c', {length}, 'x')"));
    let (_file, routes) = view_of_length(2 << 20);
    assert_eq!(rows(&routes)[0].config(), &Field::Other { what: "longer than 1 MiB" });
    let (_file, routes) = view_of_length(80 << 20);
    let text = routes.read().unwrap_err().to_string();
    assert!(text.contains("a value is longer than 64 MiB"), "{text}");
}

#[test]
fn a_snapshot_is_of_one_moment() {
    let (file, routes) = File::with_schema();
    let writer = file.connect();
    writer
        .execute_batch("BEGIN; INSERT INTO routes(service_name, strategy) VALUES ('a', 'local')")
        .unwrap();
    assert_eq!(routes.read().unwrap().rows, []);
    writer.execute_batch("COMMIT").unwrap();
    let snapshot = routes.read().unwrap();
    assert_eq!((snapshot.generation, snapshot.rows.len()), (1, 1));
}

#[test]
fn missing_rows_are_added_once_and_others_stay() {
    let (file, routes) = File::with_schema();
    file.sql("INSERT INTO routes(service_name, strategy) VALUES ('mail', 'noop')").unwrap();
    let (billing, mail) = (name("billing"), name("mail"));
    assert_eq!(routes.add_missing(&[&billing, &mail]), Ok(Added::Rows(1)));
    assert_eq!(routes.add_missing(&[&billing, &mail]), Ok(Added::Rows(0)));
    assert_eq!(
        rows(&routes),
        [RouteRow::new("billing", "local", None, "{}"), RouteRow::new("mail", "noop", None, "{}")]
    );
}

#[test]
fn strategies_can_be_added_and_then_used() {
    let (file, routes) = File::with_schema();
    let insert = "INSERT INTO routes(service_name, strategy, endpoint) VALUES ('a', 'carrier-pigeon', 'loft 7')";
    assert!(file.sql(insert).unwrap_err().contains("unknown strategy"));
    routes.add_strategies(&["carrier-pigeon", "local"]).unwrap();
    routes.add_strategies(&["carrier-pigeon"]).unwrap();
    file.sql(insert).unwrap();
    let text = routes.add_strategies(&["Not A Word"]).unwrap_err().to_string();
    assert!(text.contains("adding strategies: CHECK constraint failed"), "{text}");
}

#[test]
fn history_tells_what_was_before_and_after() {
    let (file, routes) = File::with_schema();
    let start = SystemTime::now() - Duration::from_secs(1);
    file.sql(
        "INSERT INTO routes(service_name, strategy) VALUES ('billing', 'local'), ('mail', 'local');
         UPDATE routes SET strategy = 'quic', endpoint = 'x:1' WHERE service_name = 'billing';
         INSERT OR REPLACE INTO routes(service_name, strategy, config) VALUES ('billing', 'noop', NULL);
         DELETE FROM routes WHERE service_name = 'billing'",
    )
    .unwrap();
    let local = RouteRow::new("billing", "local", None, "{}");
    let quic = RouteRow::new("billing", "quic", Some("x:1"), "{}");
    let noop = RouteRow::from_fields(
        Field::text("billing"),
        Field::text("noop"),
        Field::Null,
        Field::Null,
    );
    let changes = routes.history(Some(&name("billing")), 10).unwrap();
    let summary: Vec<_> = changes
        .iter()
        .map(|c| (c.generation, c.kind, c.before.as_ref(), c.after.as_ref()))
        .collect();
    assert_eq!(
        summary,
        [
            (5, ChangeKind::Delete, Some(&noop), None),
            (4, ChangeKind::Replace, Some(&quic), Some(&noop)),
            (3, ChangeKind::Update, Some(&local), Some(&quic)),
            (1, ChangeKind::Insert, None, Some(&local)),
        ]
    );
    assert!(
        changes
            .iter()
            .all(|c| c.name == Field::text("billing") && c.at > start && c.at <= SystemTime::now())
    );
    assert_eq!(
        routes.history(None, 2).unwrap().iter().map(|c| c.generation).collect::<Vec<_>>(),
        [5, 4]
    );
}

#[test]
fn a_history_written_by_hand_is_still_read() {
    let (file, routes) = File::with_schema();
    let insert = "INSERT INTO route_history(at_ms, op, service_name, new_strategy, new_config) VALUES (?1, ?2, ?3, ?4, ?5)";
    let writer = file.connect();
    writer.execute(insert, params![-1, "wonder", vec![0_u8], 5, "x".repeat(2 << 20)]).unwrap();
    let change = routes.history(None, 10).unwrap().remove(0);
    assert_eq!((change.kind, change.at), (ChangeKind::Unknown, SystemTime::UNIX_EPOCH));
    assert_eq!(change.name, Field::Other { what: "a blob" });
    assert_eq!(change.after.unwrap().config(), &Field::Other { what: "longer than 1 MiB" });
}

#[test]
fn a_file_without_history_says_so() {
    let (_file, routes) = unchecked_table();
    let text = routes.history(None, 1).unwrap_err().to_string();
    assert!(text.contains("reading history: no such table: route_history"), "{text}");
}
