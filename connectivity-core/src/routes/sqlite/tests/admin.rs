//! Changes from code: validation before the write, history, and rollback.

use std::sync::{Arc, mpsc};

use serde_json::json;

use super::File;
use super::go_made::{NEWEST, go_file};
use crate::routes::sqlite::admin::stored::query_by_name;
use crate::routes::sqlite::admin::{Admin, AdminError, RollbackReport, RouteSpec};
use crate::routes::{ChangeKind, Field, RouteRow, RouteSource, SqliteRoutes};

fn with_admin() -> (File, Admin) {
    let (file, routes) = File::with_schema();
    (file, routes.admin())
}

fn http() -> RouteSpec {
    RouteSpec::new("billing", "http").endpoint("http://10.0.0.5/billing")
}

async fn row(admin: &Admin, name: &str) -> Option<RouteRow> {
    admin.get(name).await.unwrap().map(|route| route.row().clone())
}

#[tokio::test]
async fn an_upsert_adds_a_row_or_changes_what_it_states() {
    let (file, admin) = with_admin();
    let added = admin.upsert(http().config(r#"{"timeout_ms":500}"#)).await.unwrap().unwrap();
    assert_eq!((added.kind, added.generation, added.before), (ChangeKind::Insert, 1, None));
    let changed =
        admin.upsert(RouteSpec::new("billing", "quic").endpoint("a:1")).await.unwrap().unwrap();
    let now = RouteRow::new("billing", "quic", Some("a:1"), r#"{"timeout_ms":500}"#);
    assert_eq!(
        (changed.kind, changed.generation, changed.after.as_ref()),
        (ChangeKind::Update, 2, Some(&now))
    );
    assert_eq!(row(&admin, "billing").await, Some(now));
    assert_eq!(
        admin.upsert(RouteSpec::new("billing", "quic")).await,
        Ok(None),
        "nothing to change"
    );
    assert_eq!(file.generation(), 2);
    admin.upsert(RouteSpec::new("billing", "local").endpoint("").config("{}")).await.unwrap();
    let row = row(&admin, "billing").await.unwrap();
    assert_eq!(
        row,
        RouteRow::from_fields(
            Field::text("billing"),
            Field::text("local"),
            Field::Null,
            Field::text("{}")
        )
    );
}

#[tokio::test]
async fn what_would_be_a_bad_row_is_refused_with_what_to_write_instead() {
    let (file, admin) = with_admin();
    for (spec, expected) in [
        (RouteSpec::new("bill ing", "local"), "service_name: `bill ing` is no name"),
        (RouteSpec::new("billing", "quic"), "endpoint: strategy `quic` needs one"),
        (http().config("timeout_ms=5"), "config"),
        (http().config(r#"{"timeout_ms":"5"}"#), "config.timeout_ms: "),
        (
            http().config(r#"{"timout_ms":5}"#),
            "config.timout_ms: unknown key; did you mean `timeout_ms`?",
        ),
        (
            RouteSpec::new("billing", "local").config(r#"{"nonsense":5}"#),
            "config.nonsense: unknown key",
        ),
        (
            RouteSpec::new("billing", "htpp").endpoint("http://x/"),
            "strategy: this file knows no `htpp`; it knows dbsync, embed, http, local, mcp, noop, quic, unix",
        ),
        (RouteSpec::new("billing", "\u{1b}[2J"), r"`\u{1b}[2J`"),
    ] {
        let error = admin.upsert(spec).await.unwrap_err();
        assert!(
            matches!(error, AdminError::Invalid(_) | AdminError::UnknownStrategy { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!((file.generation(), admin.list().await.unwrap().len()), (0, 0));
    assert!(
        admin.upsert(http().config(r#"{"insecure_tls":true}"#)).await.is_ok(),
        "odd, but known"
    );
}

#[tokio::test]
async fn a_strategy_is_set_on_a_row_that_is_there() {
    let (file, admin) = with_admin();
    admin.upsert(http()).await.unwrap();
    assert_eq!(admin.set_strategy("billing", "noop").await.unwrap().unwrap().generation, 2);
    admin.set_strategy("billing", "http").await.unwrap();
    assert_eq!(
        row(&admin, "billing").await,
        Some(RouteRow::new("billing", "http", Some("http://10.0.0.5/billing"), "{}"))
    );
    let error = admin.set_strategy("biling", "local").await.unwrap_err();
    assert_eq!(error.to_string(), "no route is called `biling`; did you mean `billing`?");
    assert!(matches!(
        admin.set_strategy("billing", "htpp").await,
        Err(AdminError::UnknownStrategy { .. })
    ));
    // An existing unknown key does not block a change of the strategy, unless it makes the row
    // invalid.
    file.sql(r#"UPDATE routes SET config = '{"timout_ms":5}'"#).unwrap();
    admin.set_strategy("billing", "local").await.unwrap();
    file.sql(r#"UPDATE routes SET config = '{"timeout_ms":"5"}'"#).unwrap();
    assert!(matches!(admin.set_strategy("billing", "noop").await, Err(AdminError::Invalid(_))));
}

#[tokio::test]
async fn a_row_is_deleted_and_a_missing_one_is_named() {
    let (_file, admin) = with_admin();
    admin.upsert(http()).await.unwrap();
    let deleted = admin.delete("billing").await.unwrap().unwrap();
    assert_eq!((deleted.kind, deleted.after), (ChangeKind::Delete, None));
    assert_eq!(row(&admin, "billing").await, None);
    let error = admin.delete("billing").await.unwrap_err();
    assert_eq!(error, AdminError::NotFound { name: "billing".to_owned(), nearest: None });
}

/// A row that this process cannot load: SQLite itself stores values of up to 1 GB.
const HUGE: &str = "INSERT INTO routes(service_name, strategy, endpoint) VALUES ('huge', 'noop', printf('%.*c', 68000000, 'x'))";

#[tokio::test]
async fn a_row_that_is_too_long_to_load_is_deleted() {
    let (file, admin) = with_admin();
    file.sql(HUGE).unwrap();
    let tried = admin.dry_run().delete("huge").await.unwrap();
    let deleted = admin.delete("huge").await.unwrap().unwrap();
    assert_eq!(
        (deleted.kind, deleted.generation, deleted.after.as_ref()),
        (ChangeKind::Delete, 2, None)
    );
    let before = deleted.before.as_ref().unwrap();
    assert_eq!((before.strategy(), before.endpoint()), (&Field::text("noop"), &Field::TOO_LONG));
    assert_eq!(before.config(), &Field::text("{}"), "what can be kept is");
    assert_eq!(tried.and_then(|tried| tried.before), deleted.before);
    assert_eq!((row(&admin, "huge").await, file.generation()), (None, 2));
    // The triggers of the connection are enabled again.
    admin.upsert(http()).await.unwrap();
    assert_eq!(admin.delete("billing").await.unwrap().unwrap().generation, 4);
}

#[tokio::test]
async fn a_rollback_takes_away_a_row_that_is_too_long_to_load() {
    let (file, admin) = with_admin();
    admin.upsert(http()).await.unwrap();
    file.sql(HUGE).unwrap();
    let report = admin.rollback(1, None).await.unwrap();
    assert_eq!((report.changes.len(), report.changes[0].kind), (1, ChangeKind::Delete));
    assert_eq!(row(&admin, "huge").await, None);
}

#[tokio::test]
async fn a_row_as_json_is_what_the_original_writes() {
    let (file, admin) = with_admin();
    admin.upsert(http().config(r#"{"timeout_ms":500}"#)).await.unwrap();
    admin.upsert(RouteSpec::new("mail", "local")).await.unwrap();
    file.sql("UPDATE routes SET updated_at = 1700000000; DROP TRIGGER cn_routes_check_config")
        .unwrap();
    file.sql("INSERT INTO routes(service_name, strategy, updated_at) VALUES ('odd', 'noop', 1)")
        .unwrap();
    file.sql("UPDATE routes SET config = 'no json', updated_at = 'x' WHERE service_name = 'odd'")
        .unwrap();
    assert_eq!(
        serde_json::to_value(admin.list().await.unwrap()).unwrap(),
        json!([
            {"service_name": "billing", "strategy": "http", "endpoint": "http://10.0.0.5/billing",
             "config": {"timeout_ms": 500}, "updated_at": 1_700_000_000},
            {"service_name": "mail", "strategy": "local", "config": {}, "updated_at": 1_700_000_000},
            {"service_name": "odd", "strategy": "noop", "config": "no json", "updated_at": null},
        ])
    );
}

#[tokio::test]
async fn a_dry_run_answers_the_same_and_writes_nothing() {
    let (file, admin) = with_admin();
    let version = || file.number("SELECT count(*) FROM route_history");
    let tried = admin.dry_run().upsert(http()).await.unwrap().unwrap();
    assert_eq!((tried.kind, tried.generation), (ChangeKind::Insert, 1));
    assert_eq!((row(&admin, "billing").await, file.generation(), version()), (None, 0, 0));
    assert!(admin.dry_run().upsert(RouteSpec::new("billing", "quic")).await.is_err());
    assert_eq!(admin.upsert(http()).await.unwrap().unwrap().generation, 1);
}

/// Creates changes of three rows, up to generation 6.
async fn with_history() -> (File, Admin, Vec<RouteRow>) {
    let (file, admin) = with_admin();
    for name in ["billing", "mail"] {
        admin.upsert(RouteSpec::new(name, "local")).await.unwrap();
    }
    let earlier_rows = rows(&admin).await;
    admin.upsert(http().config(r#"{"timeout_ms":500}"#)).await.unwrap();
    admin.upsert(RouteSpec::new("search", "noop")).await.unwrap();
    admin.delete("mail").await.unwrap();
    admin.set_strategy("billing", "noop").await.unwrap();
    assert_eq!(file.generation(), 6);
    (file, admin, earlier_rows)
}

async fn rows(admin: &Admin) -> Vec<RouteRow> {
    admin.list().await.unwrap().iter().map(|route| route.row().clone()).collect()
}

#[tokio::test]
async fn a_rollback_puts_every_row_back_and_can_be_rolled_back() {
    let (file, admin, earlier_rows) = with_history().await;
    let now = rows(&admin).await;
    assert_eq!(admin.dry_run().rollback(2, None).await.unwrap().changes.len(), 3);
    let RollbackReport { changes, bad, .. } = admin.rollback(2, None).await.unwrap();
    assert_eq!(bad, []);
    let mut changed_rows: Vec<_> =
        changes.iter().map(|change| (change.name.clone(), change.kind)).collect();
    changed_rows.sort_by_key(|(name, _)| format!("{name:?}"));
    let name = |text: &str| Field::text(text);
    assert_eq!(
        changed_rows,
        [
            (name("billing"), ChangeKind::Update),
            (name("mail"), ChangeKind::Insert),
            (name("search"), ChangeKind::Delete)
        ]
    );
    assert_eq!((rows(&admin).await, file.generation()), (earlier_rows, 9));
    admin.rollback(6, None).await.unwrap();
    assert_eq!(rows(&admin).await, now);
    assert_eq!(admin.rollback(12, None).await.unwrap().changes, [], "nothing has changed since");
    admin.rollback(0, None).await.unwrap();
    assert_eq!(rows(&admin).await, []);
}

#[tokio::test]
async fn a_rollback_of_one_row_leaves_the_others() {
    let (_file, admin, _then) = with_history().await;
    let report = admin.rollback(3, Some("billing")).await.unwrap();
    assert_eq!(report.changes.len(), 1);
    let rows = rows(&admin).await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].strategy(), &Field::text("http"));
    let error = admin.rollback(3, Some("biling")).await.unwrap_err();
    assert!(error.to_string().contains("did you mean `billing`"), "{error}");
    assert_eq!(admin.rollback(5, Some("search")).await.unwrap().changes, [], "it was that already");
}

#[tokio::test]
async fn a_rollback_that_cannot_be_whole_is_refused() {
    let (file, admin, _then) = with_history().await;
    let error = admin.rollback(7, None).await.unwrap_err();
    assert_eq!(error, AdminError::NoSuchGeneration { generation: 7, oldest: 0, newest: 6 });
    file.sql("DELETE FROM route_history WHERE id = 4").unwrap();
    let error = admin.rollback(2, None).await.unwrap_err();
    assert_eq!(error, AdminError::NoSuchGeneration { generation: 2, oldest: 4, newest: 6 });
    assert_eq!(admin.rollback(4, None).await.unwrap().changes.len(), 2);
}

#[tokio::test]
async fn a_rollback_restores_bad_rows_too_and_says_which_they_are() {
    let (file, admin, _then) = with_history().await;
    file.sql(r#"UPDATE routes SET config = '{"timeout_ms":"5"}' WHERE service_name = 'billing'"#)
        .unwrap();
    file.sql("INSERT INTO strategies VALUES ('pigeon'); INSERT INTO routes(service_name, strategy, endpoint) VALUES ('loft', 'pigeon', '7')").unwrap();
    let earlier_rows = rows(&admin).await;
    let bad = u64::try_from(file.generation()).unwrap();
    admin.upsert(RouteSpec::new("billing", "local").config("{}")).await.unwrap();
    admin.delete("search").await.unwrap();
    let report = admin.dry_run().rollback(bad, None).await.unwrap();
    assert_eq!((report.changes.len(), report.bad.len()), (2, 1));
    assert_eq!(admin.rollback(bad, None).await.unwrap().bad, report.bad);
    assert!(
        report.bad[0].to_string().starts_with("the row `billing` is bad, as it was then: config."),
        "{:?}",
        report.bad
    );
    assert_eq!(rows(&admin).await, earlier_rows);

    // A row that the file rejects today stays as it is.
    admin.set_strategy("loft", "noop").await.unwrap();
    admin.delete("search").await.unwrap();
    file.sql("DELETE FROM strategies WHERE name = 'pigeon'").unwrap();
    let report = admin.rollback(bad, None).await.unwrap();
    assert_eq!((report.changes.len(), report.bad.len()), (1, 1));
    assert!(
        report.bad[0].to_string().starts_with(
            "the row `loft` stays as it is now: strategy: this file knows no `pigeon`"
        ),
        "{:?}",
        report.bad
    );
    assert_eq!(row(&admin, "loft").await.unwrap().strategy(), &Field::text("noop"));

    // A rollback of that row alone is rejected.
    admin.upsert(RouteSpec::new("billing", "local").config("{}")).await.unwrap();
    let error = admin.rollback(bad, Some("billing")).await.unwrap_err();
    assert!(
        matches!(error, AdminError::Invalid(_)) && error.to_string().contains("row `billing`"),
        "{error}"
    );
}

#[test]
fn the_row_of_a_name_is_found_by_the_index() {
    let (file, _routes) = File::with_schema();
    let connection = file.connect();
    let query = format!("EXPLAIN QUERY PLAN {}", query_by_name());
    let plan: String = connection.query_row(&query, ["billing"], |row| row.get("detail")).unwrap();
    assert!(plan.starts_with("SEARCH") && plan.contains("(service_name=?)"), "{plan}");
}

#[tokio::test]
async fn a_file_that_go_made_is_changed_and_go_goes_on() {
    let file = go_file(NEWEST);
    let admin = Admin::open(&file.path).await.unwrap();
    assert_eq!(admin.list().await.unwrap().len(), 4);
    admin.upsert(http()).await.unwrap();
    assert!(matches!(
        admin.upsert(RouteSpec::new("mail", "unix").endpoint("/run/mail")).await,
        Err(AdminError::UnknownStrategy { .. })
    ));
    admin.delete("with space").await.unwrap();
    file.sql("UPDATE routes SET strategy = 'noop' WHERE service_name = 'billing'").unwrap();
    let report = admin.dry_run().rollback(0, None).await.unwrap();
    assert!(
        report.bad[0]
            .to_string()
            .starts_with("the row `with space` stays as it is now: service_name: "),
        "{:?}",
        report.bad
    );
    admin.rollback(1, Some("billing")).await.unwrap();
    assert_eq!(
        row(&admin, "billing").await,
        Some(RouteRow::new("billing", "http", Some("http://10.0.0.5/billing"), "{}"))
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_written_or_found_says_so() {
    let (file, _admin) = with_admin();
    let admin = SqliteRoutes::open_read_only(&file.path).unwrap().admin();
    assert_eq!(admin.upsert(http()).await, Err(AdminError::ReadOnly));
    assert_eq!(admin.list().await.unwrap(), []);
    let missing = Admin::open(file.dir.path().join("missing.db")).await.unwrap_err();
    assert!(missing.to_string().contains("connectivity init"), "{missing}");
}

/// Fault 11 of the original Go implementation: it never detected writes through the watched handle.
#[tokio::test]
async fn a_change_is_seen_by_the_watcher_of_the_same_handle() {
    let (_file, routes) = File::with_schema();
    let (routes, (sender, generations)) = (Arc::new(routes), mpsc::channel());
    let source = Arc::clone(&routes);
    let changed =
        Arc::new(move || source.read().is_ok_and(|read| sender.send(read.generation).is_ok()));
    let _watching = routes.watch(changed).unwrap();
    let admin = SqliteRoutes::admin(&routes);
    for generation in 1..=25 {
        admin
            .upsert(RouteSpec::new("billing", "quic").endpoint(format!("a:{generation}")))
            .await
            .unwrap();
        while generations.recv_timeout(std::time::Duration::from_secs(20)).unwrap() != generation {}
    }
}
