//! Tests of a router's log events and of its table updates.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Metadata, Subscriber};

use super::{RouteState, Router};
use crate::call::CallService;
use crate::name::Name;
use crate::routes::{
    Added, ChangeFn, MemoryRoutes, Route, RouteError, RouteSource, Snapshot, SourceError,
    WatchGuard,
};
use crate::transport::{BuildContext, Remote, Transport};

/// Collects the events of one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("connectivity_core")
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

/// Returns a router without a watcher: it reloads only on this thread, whose log sees the events.
fn quiet(routes: &MemoryRoutes) -> Router {
    let router = Router::builder().source(routes.clone()).build().unwrap();
    router.0.stop_watching();
    router
}

#[test]
fn a_read_that_fails_again_and_again_is_logged_once_and_so_is_its_end() {
    let (routes, log) = (MemoryRoutes::new(), Log::default());
    let router = quiet(&routes);
    let events_of = |failure: Option<&str>| {
        routes.fail_reads(failure);
        with_default(log.clone(), || {
            for _ in 0..3 {
                assert_eq!(router.0.reload().is_err(), failure.is_some());
            }
        });
        log.take()
    };
    for failure in ["the disk is gone", "the disk is broken"] {
        let events = events_of(Some(failure));
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].starts_with("ERROR") && events[0].contains(failure), "{events:?}");
        assert!(router.inspect().warnings[0].contains(failure));
    }
    let events = events_of(None);
    assert!(events.len() == 1 && events[0].starts_with("INFO"), "{events:?}");
}

#[test]
fn a_bad_row_is_logged_when_it_turns_bad_and_a_reload_of_good_ones_says_nothing() {
    let (routes, log) = (MemoryRoutes::new(), Log::default());
    let router = quiet(&routes);
    let events_of = |name: &str, config: &str| {
        routes.set(name, "noop", None, config);
        with_default(log.clone(), || {
            for _ in 0..3 {
                router.0.reload().unwrap();
            }
        });
        log.take()
    };
    assert!(events_of("billing", "{}").is_empty());
    let bad = events_of("billing", "[]");
    assert!(bad.len() == 1 && bad[0].starts_with("WARN") && bad[0].contains("billing"), "{bad:?}");
    assert!(events_of("orders", "{}").is_empty(), "billing was told");
    assert_eq!(events_of("billing", r#"{"timeout_ms":0}"#).len(), 1, "another cause");
    let hostile = events_of("\u{1b}[2J", "{}");
    assert!(hostile.len() == 1 && !hostile[0].contains('\u{1b}'), "{hostile:?}");
}

#[test]
fn a_noop_row_that_is_gone_is_told_where_calls_go_somewhere_now() {
    let (routes, log) = (MemoryRoutes::new(), Log::default());
    routes.set("billing", "noop", None, "{}");
    routes.set("billing.quote", "noop", None, "{}");
    routes.set("elsewhere", "noop", None, "{}");
    let router = quiet(&routes);
    router.register_raw("billing", async |bytes| Ok(bytes)).unwrap();
    let events_of = |name: &str| {
        routes.remove(name);
        with_default(log.clone(), || router.0.reload().unwrap());
        log.take()
    };
    assert_eq!(events_of("billing.quote"), [""; 0], "the row of the service switches it off still");
    assert_eq!(events_of("elsewhere"), [""; 0], "nothing is called that here");
    let events = events_of("billing");
    assert!(
        events.len() == 1 && events[0].starts_with("WARN") && events[0].contains("name=billing"),
        "{events:?}"
    );
}

#[test]
fn a_local_row_of_a_name_that_is_not_registered_has_a_warning() {
    let routes = MemoryRoutes::new();
    routes.set("biling", "local", None, "{}");
    let router = quiet(&routes);
    let warnings = || router.inspect().route("biling").unwrap().warnings.clone();
    assert_eq!(
        warnings(),
        ["its row says local, and nothing of this name is registered in this process"]
    );
    router.register_raw("biling", async |bytes| Ok(bytes)).unwrap();
    assert_eq!(warnings(), [""; 0]);
}

/// A transport that refuses all routes until its flag is set.
#[derive(Clone, Default)]
struct Picky(Arc<AtomicBool>);

impl Transport for Picky {
    fn build(&self, _route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        match self.0.load(Ordering::SeqCst) {
            true => Ok(Remote::new(CallService::from_fn(async |call| {
                Err(call.failed(crate::ErrorKind::Internal, "far"))
            }))),
            false => Err(RouteError::new("a file is missing")),
        }
    }
}

#[test]
fn a_refused_row_that_comes_out_the_same_makes_no_new_table() {
    let (routes, picky) = (MemoryRoutes::new(), Picky::default());
    routes.set("billing", "picky", Some("far"), "{}");
    routes.set("orders", "noop", None, "{}");
    let router =
        Router::builder().source(routes.clone()).transport("picky", picky.clone()).build().unwrap();
    router.0.stop_watching();
    let before = router.0.table();
    router.0.recheck();
    router.0.reload().unwrap();
    assert!(Arc::ptr_eq(&before, &router.0.table()), "nothing is other than before");
    picky.0.store(true, Ordering::SeqCst);
    router.0.recheck();
    assert_eq!(router.inspect().route("billing").unwrap().state, RouteState::InForce);
    let (before, after) = (before.own_entry("orders").unwrap().clone(), router.0.table());
    assert!(Arc::ptr_eq(&before, after.own_entry("orders").unwrap()));
}

#[test]
fn a_registration_touches_its_own_rows_only() {
    let routes = MemoryRoutes::new();
    routes.set("billing", "local", None, "{}");
    routes.set("billing.quote", "local", None, "{}");
    routes.set("billings", "local", None, "{}");
    let router = quiet(&routes);
    router.register_raw("orders", async |bytes| Ok(bytes)).unwrap();
    let before = router.0.table();
    router.register_raw("billing", async |bytes| Ok(bytes)).unwrap();
    let after = router.0.table();
    let same =
        |name: &str| Arc::ptr_eq(before.own_entry(name).unwrap(), after.own_entry(name).unwrap());
    assert!(!same("billing") && !same("billing.quote"), "both go to what was registered");
    assert!(same("billings") && same("orders"));
    assert!(Arc::ptr_eq(&before.services["orders"], &after.services["orders"]));
    router.0.reload().unwrap();
    assert!(Arc::ptr_eq(&after, &router.0.table()), "the rows are read as they are in force");
}

#[test]
fn rows_of_registrations_are_in_force_one_by_one_and_a_reload_keeps_them() {
    let routes = MemoryRoutes::new();
    let router = quiet(&routes);
    for name in ["billing", "orders", "mail"] {
        router.register_raw(name, async |bytes| Ok(bytes)).unwrap();
        assert_eq!(router.inspect().route(name).unwrap().state, RouteState::InForce);
        assert_eq!(router.generation(), routes.read().unwrap().generation);
    }
    routes.set("foreign", "noop", None, "{}");
    router.register_raw("stock", async |bytes| Ok(bytes)).unwrap();
    let names: Vec<_> = router.inspect().routes.into_iter().map(|row| row.name).collect();
    assert_eq!(
        names,
        ["billing", "orders", "mail", "foreign", "stock"],
        "what else had changed is read too"
    );
    assert_eq!(router.generation(), routes.read().unwrap().generation);
}

#[cfg(all(feature = "http", feature = "mcp", feature = "quic", feature = "unix"))]
#[test]
fn only_rows_that_name_files_or_secrets_are_looked_at_again() {
    let routes = MemoryRoutes::new();
    let secret = r#"{"headers":{"authorization":"env:PATH"}}"#;
    for (name, strategy, endpoint, config) in [
        ("a", "http", "http://example.com/x", "{}"),
        ("b", "http", "http://example.com/x", r#"{"headers":{"x-tenant":"one"}}"#),
        ("c", "mcp", "http://example.com/x", "{}"),
        ("d", "mcp", "localhost:1", "{}"),
        ("e", "quic", "localhost:1", "{}"),
        ("f", "unix", "/run/x.sock", "{}"),
        ("g", "noop", "", "{}"),
        ("h", "http", "http://example.com/x", secret),
        ("i", "mcp", "http://example.com/x", secret),
        ("j", "quic", "localhost:1", r#"{"ca_file":"/nowhere.pem"}"#),
    ] {
        routes.set(name, strategy, Some(endpoint), config);
    }
    let router = quiet(&routes);
    let table = router.0.table();
    let again: Vec<_> =
        table.can_go_stale.iter().map(|at| table.entries[*at].row.shown_name()).collect();
    assert_eq!(again, ["h", "i", "j"]);
    assert!(
        table.entries.iter().all(|entry| entry.fault.is_none() || entry.row.shown_name() == "j")
    );
}

/// A source that blocks its next read after reading, if it is armed.
#[derive(Clone)]
struct HeldUp {
    routes: MemoryRoutes,
    is_armed: Arc<AtomicBool>,
    has_read: Arc<Barrier>,
    goes_on: Arc<Barrier>,
}

impl RouteSource for HeldUp {
    fn read(&self) -> Result<Snapshot, SourceError> {
        let read = self.routes.read();
        if self.is_armed.swap(false, Ordering::SeqCst) {
            self.has_read.wait();
            self.goes_on.wait();
        }
        read
    }

    fn watch(&self, changed: ChangeFn) -> Result<WatchGuard, SourceError> {
        self.routes.watch(changed)
    }

    fn add_missing(&self, names: &[&Name]) -> Result<Added, SourceError> {
        self.routes.add_missing(names)
    }

    fn read_some(&self, names: &[&Name]) -> Result<Option<Snapshot>, SourceError> {
        self.routes.read_some(names)
    }

    fn add_strategies(&self, words: &[&str]) -> Result<(), SourceError> {
        self.routes.add_strategies(words)
    }

    fn warnings(&self) -> Vec<String> {
        self.routes.warnings()
    }
}

#[test]
fn a_row_that_is_added_while_a_reload_has_read_without_it_stays() {
    let barrier = || Arc::new(Barrier::new(2));
    let source = HeldUp {
        routes: MemoryRoutes::new(),
        is_armed: Arc::default(),
        has_read: barrier(),
        goes_on: barrier(),
    };
    let router = Router::builder().source(source.clone()).build().unwrap();
    router.0.stop_watching();
    source.is_armed.store(true, Ordering::SeqCst);
    let reloading = std::thread::spawn({
        let router = router.clone();
        move || router.0.reload().unwrap()
    });
    source.has_read.wait();
    router.register_raw("orders", async |bytes| Ok(bytes)).unwrap();
    assert!(router.inspect().route("orders").is_some());
    source.goes_on.wait();
    reloading.join().unwrap();
    assert!(router.inspect().route("orders").is_some(), "the older rows did not win");
    assert_eq!(router.generation(), source.routes.read().unwrap().generation);
}
