//! Views named `routes` that run forever without yielding a row: a time limit bounds their reads.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::super::SqliteRoutes;
use super::super::store::{Access, Store};
use super::super::stores::share;
use super::{File, name};
use crate::routes::RouteSource;
use crate::{RouteState, Router};

/// Much longer than any step of these tests takes.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Searches forever for a row to yield.
const ENDLESS: &str = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)
     SELECT 'a' || n, 'local', NULL, '{}' FROM n WHERE n < 0";

const FINITE: &str = "SELECT 'billing', 'noop', NULL, '{}'";

impl File {
    /// Replaces `routes` by a view of another query.
    fn set_view(&self, query: &str) {
        self.sql(&format!(
            "BEGIN; DROP VIEW IF EXISTS routes;
             CREATE VIEW routes(service_name, strategy, endpoint, config) AS {query}; COMMIT"
        ))
        .unwrap();
    }
}

/// Creates a file whose `routes` is a view, with a short read limit.
fn with_view() -> (File, SqliteRoutes) {
    let file = File::missing();
    file.sql("PRAGMA journal_mode = WAL").unwrap();
    file.set_view(FINITE);
    let store = Store::open(&file.path, Access::ReadOnly)
        .unwrap()
        .with_read_limit(Duration::from_millis(200));
    (file, SqliteRoutes { store: share(store) })
}

/// Runs `work` on another thread, which a failing test leaves behind.
fn run_with_timeout<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, done) = mpsc::channel();
    thread::spawn(move || send.send(work()));
    done.recv_timeout(TEST_TIMEOUT).expect("it never ends")
}

#[test]
fn every_read_of_a_view_that_yields_nothing_for_ever_ends() {
    let (file, routes) = with_view();
    let routes = Arc::new(routes);
    assert_eq!(routes.read().unwrap().rows.len(), 1);
    file.set_view(ENDLESS);
    for read in [
        (|routes: &SqliteRoutes| routes.read().map(drop)) as fn(&SqliteRoutes) -> _,
        |routes| routes.read_some(&[&name("billing")]).map(drop),
        |routes| routes.add_missing(&[&name("billing")]).map(drop),
    ] {
        let routes = Arc::clone(&routes);
        let text = run_with_timeout(move || read(&routes)).unwrap_err().to_string();
        assert!(text.contains("interrupted; it takes too long; if `routes` is a view"), "{text}");
    }
    assert!(routes.warnings()[0].contains("reading routes has failed"), "{:?}", routes.warnings());
    file.set_view(FINITE);
    assert_eq!(routes.read().unwrap().rows.len(), 1, "the next read tries again");
}

#[test]
fn the_routes_in_force_stay_while_a_read_does_not_end() {
    let (file, routes) = with_view();
    let router = Router::builder().source(routes).build().unwrap();
    let is_in_force =
        |router: &Router| router.inspect().route("billing").unwrap().state == RouteState::InForce;
    let until_failing = |expected: bool| {
        let router = router.clone();
        run_with_timeout(move || {
            let fails = |text: &String| text.contains("the last ones stay in force: ");
            while router.inspect().warnings.iter().any(fails) != expected {
                thread::sleep(Duration::from_millis(10));
            }
        });
    };
    assert!(is_in_force(&router));
    file.set_view(ENDLESS);
    until_failing(true);
    assert!(is_in_force(&router));
    file.set_view(
        "SELECT 'billing', 'noop', NULL, '{}' UNION ALL SELECT 'orders', 'noop', NULL, '{}'",
    );
    until_failing(false);
    assert!(is_in_force(&router) && router.inspect().route("orders").is_some());
}
