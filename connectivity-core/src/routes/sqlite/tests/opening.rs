//! Opening files: which ones are accepted or rejected, and which warnings they cause.

use std::fs;

use super::super::SqliteRoutes;
use super::File;
use crate::routes::{Added, RouteSource, SourceError};

fn assert_rejected(result: Result<SqliteRoutes, SourceError>, expected: &str) {
    let text = result.expect_err("must be refused").to_string();
    assert!(text.contains("routes.db: ") && text.contains(expected), "{text}");
}

#[test]
fn a_missing_file_is_refused_and_not_made() {
    let file = File::missing();
    assert_rejected(SqliteRoutes::open(&file.path), "connectivity init");
    assert_rejected(SqliteRoutes::open_read_only(&file.path), "connectivity init");
    assert!(!file.path.exists());
    let unmounted = file.dir.path().join("not-mounted").join("routes.db");
    assert_rejected(SqliteRoutes::open_or_create(unmounted), "the directory must exist");
}

#[test]
fn what_is_no_database_is_refused() {
    let file = File::missing();
    fs::write(&file.path, "x".repeat(5000)).unwrap();
    for open in [SqliteRoutes::open, SqliteRoutes::open_or_create, SqliteRoutes::open_read_only] {
        assert_rejected(open(&file.path), "file is not a database; give the path of a routes file");
    }
    fs::remove_file(&file.path).unwrap();
    fs::create_dir(&file.path).unwrap();
    assert_rejected(SqliteRoutes::open(&file.path), "cannot be opened");
}

#[test]
fn a_database_without_routes_is_refused_and_left_alone() {
    let file = File::missing();
    fs::write(&file.path, "").unwrap();
    assert_rejected(SqliteRoutes::open(&file.path), "there is no table `routes` in it");
    assert_eq!(fs::metadata(&file.path).unwrap().len(), 0, "an empty file that a typo left behind");
    file.sql("CREATE TABLE orders(id)").unwrap();
    assert_rejected(SqliteRoutes::open(&file.path), "there is no table `routes` in it");
    assert!(SqliteRoutes::open_or_create(&file.path).is_ok());
}

#[test]
fn the_table_of_another_program_is_refused_and_left_alone() {
    let file = File::missing();
    file.sql("CREATE TABLE routes(from_city, to_city)").unwrap();
    for open in [SqliteRoutes::open, SqliteRoutes::open_or_create] {
        assert_rejected(
            open(&file.path),
            "has no column `service_name`, so it belongs to another program",
        );
    }
    assert_eq!(file.number("SELECT count(*) FROM sqlite_schema"), 1);
    assert_eq!(file.shell("PRAGMA journal_mode"), Ok("delete\n".to_owned()));
}

#[test]
fn memory_is_refused() {
    let text = SqliteRoutes::open_or_create(":memory:").unwrap_err().to_string();
    assert!(text.contains("MemoryRoutes"), "{text}");
}

#[test]
fn a_new_file_is_whole_and_opening_again_writes_nothing() {
    let (file, routes) = File::with_schema();
    assert_eq!(routes.warnings(), [] as [&str; 0]);
    let other_connection = file.connect();
    let version = || super::super::connection::data_version(&other_connection).unwrap();
    let before = version();
    let again = SqliteRoutes::open(&file.path).unwrap();
    assert_eq!((again.warnings(), version()), (vec![], before));
}

#[test]
fn many_may_make_one_file_at_once() {
    let file = File::missing();
    std::thread::scope(|scope| {
        let opening: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| SqliteRoutes::open_or_create(&file.path).map(drop)))
            .collect();
        for opened in opening {
            assert_eq!(opened.join().unwrap(), Ok(()));
        }
    });
    assert_eq!(file.number("SELECT count(*) FROM strategies"), 8);
}

#[test]
fn missing_triggers_are_told_and_come_back_when_the_file_is_opened() {
    let (file, routes) = File::with_schema();
    file.sql("DROP TRIGGER cn_routes_deleted; DROP TRIGGER cn_generation").unwrap();
    let warnings = routes.warnings();
    assert!(
        warnings[0].starts_with("triggers are missing")
            && warnings[0].contains("cn_generation, cn_routes_deleted")
    );
    SqliteRoutes::open(&file.path).unwrap();
    assert_eq!(routes.warnings(), [] as [&str; 0]);
}

#[test]
fn altered_triggers_are_told_and_rewritten_by_an_upgrade() {
    let (file, routes) = File::with_schema();
    file.sql(
        "DROP TRIGGER cn_generation; CREATE TRIGGER cn_generation AFTER INSERT ON route_history BEGIN SELECT 1; END",
    )
    .unwrap();
    let warnings = SqliteRoutes::open(&file.path).unwrap().warnings();
    assert!(
        warnings[0].contains("another text") && warnings[0].contains("cn_generation"),
        "{warnings:?}"
    );
    let report = SqliteRoutes::upgrade(&file.path).unwrap();
    assert!(!report.rebuilt && report.left_out.is_empty());
    assert_eq!(routes.warnings(), [] as [&str; 0]);
}

#[test]
fn an_older_schema_gets_the_triggers_of_this_version() {
    let (file, _routes) = File::with_schema();
    file.sql("UPDATE meta SET value = 1 WHERE key = 'schema'; DROP TRIGGER cn_strategies_renamed")
        .unwrap();
    file.sql("DROP TRIGGER cn_set_route; DROP VIEW set_route; CREATE VIEW set_route AS SELECT 1")
        .unwrap();
    let routes = SqliteRoutes::open(&file.path).unwrap();
    assert_eq!(routes.warnings(), [] as [&str; 0]);
    assert_eq!(file.number("SELECT value FROM meta WHERE key = 'schema'"), 2);
    file.sql("SELECT service_name FROM set_route").unwrap();
}

#[test]
fn a_newer_schema_is_used_and_left_alone() {
    let (file, _routes) = File::with_schema();
    file.sql("UPDATE meta SET value = 3 WHERE key = 'schema'; DROP TRIGGER cn_generation").unwrap();
    let routes = SqliteRoutes::open(&file.path).unwrap();
    assert!(routes.warnings()[0].starts_with("the schema is version 3"), "{:?}", routes.warnings());
    assert_eq!(file.number("SELECT count(*) FROM sqlite_schema WHERE name = 'cn_generation'"), 0);
}

#[test]
fn read_only_reads_and_adds_nothing() {
    let (file, routes) = File::with_schema();
    routes.add_missing(&[&super::name("billing")]).unwrap();
    let routes = SqliteRoutes::open_read_only(&file.path).unwrap();
    assert_eq!(routes.read().unwrap().rows.len(), 1);
    assert_eq!(routes.add_missing(&[&super::name("mail")]), Ok(Added::ReadOnly));
    assert_eq!(routes.add_missing(&[&super::name("billing")]), Ok(Added::Rows(0)));
    assert_eq!(routes.add_strategies(&["mine"]), Ok(()));
    assert_eq!(file.number("SELECT count(*) FROM routes"), 1);
}

#[cfg(unix)]
#[test]
fn what_everybody_may_write_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let (file, routes) = File::with_schema();
    fs::set_permissions(&file.path, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(file.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let warnings = routes.warnings();
    assert!(
        warnings[0].contains("routes file") && warnings[1].contains("the directory"),
        "{warnings:?}"
    );
}

/// A directory without write permission, as in an image or a mounted config. Root must respect it
/// too.
#[cfg(unix)]
#[test]
fn a_file_in_a_directory_that_nobody_may_write_is_read_and_nothing_is_made_there() {
    use std::os::unix::fs::PermissionsExt;
    let (file, routes) = File::with_schema();
    routes.add_missing(&[&super::name("billing")]).unwrap();
    drop(routes);
    let allow =
        |mode| fs::set_permissions(file.dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    let files = || fs::read_dir(file.dir.path()).unwrap().count();
    allow(0o555);
    let routes = SqliteRoutes::open_read_only(&file.path).unwrap();
    assert_eq!(routes.read().unwrap().rows.len(), 1);
    let warnings = routes.warnings();
    assert!(warnings[0].starts_with("the directory cannot be written"), "{warnings:?}");
    assert_eq!(files(), 1, "neither -wal nor -shm");
    // As if the owner of the mount replaced its content.
    allow(0o755);
    file.sql("INSERT INTO routes(service_name, strategy) VALUES ('mail', 'noop')").unwrap();
    allow(0o555);
    assert_eq!((routes.read().unwrap().rows.len(), files()), (2, 1));
    allow(0o755);
}
