//! Commits of any process are detected, and none is lost.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::super::SqliteRoutes;
use super::super::store::{Access, Store};
use super::super::stores;
use super::super::watch::start_with;
use super::{File, name};
use crate::routes::wake::WakeSender;
use crate::routes::{Added, RouteRow, RouteSource, Snapshot, WatchGuard};

/// Much longer than any step of these tests takes; only a lost change waits that long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A watched file; every change triggers a read.
struct Watched {
    file: File,
    routes: Arc<SqliteRoutes>,
    guard: WatchGuard,
    seen: Receiver<Snapshot>,
}

impl Watched {
    fn new() -> Self {
        let (file, routes) = File::with_schema();
        file.sql("INSERT INTO routes(service_name, strategy) VALUES ('billing', 'local')").unwrap();
        Self::of(file, Arc::new(routes))
    }

    fn of(file: File, routes: Arc<SqliteRoutes>) -> Self {
        let (send, seen) = mpsc::channel();
        let source = Arc::clone(&routes);
        let guard = routes
            .watch(Arc::new(move || source.read().is_ok_and(|s| send.send(s).is_ok())))
            .unwrap();
        Self { file, routes, guard, seen }
    }

    /// Waits until a reload reads a snapshot that matches.
    fn until(&self, matches: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let snapshot = self
                .seen
                .recv_timeout(deadline - Instant::now())
                .expect("the change is never seen");
            if matches(&snapshot) {
                return snapshot;
            }
        }
    }

    fn until_generation(&self, generation: u64) -> Snapshot {
        self.until(|snapshot| snapshot.generation == generation)
    }
}

fn has(endpoint: &str) -> impl Fn(&Snapshot) -> bool {
    let row = RouteRow::new("billing", "quic", Some(endpoint), "{}");
    move |snapshot| snapshot.rows.contains(&row)
}

fn moved_to(endpoint: &str) -> String {
    format!(
        "UPDATE routes SET strategy = 'quic', endpoint = '{endpoint}' WHERE service_name = 'billing'"
    )
}

#[test]
fn a_commit_of_another_process_is_seen() {
    let watched = Watched::new();
    watched.until_generation(1);
    watched.file.shell(&moved_to("a:1")).unwrap();
    watched.until(has("a:1"));
}

#[test]
fn a_commit_of_our_own_writer_is_seen() {
    let watched = Watched::new();
    watched.until_generation(1);
    watched.routes.add_missing(&[&name("mail")]).unwrap();
    watched.until_generation(2);
}

#[test]
fn a_commit_between_the_first_read_and_the_watching_is_not_lost() {
    let (file, routes) = File::with_schema();
    routes.add_missing(&[&name("billing")]).unwrap();
    let first = routes.read().unwrap();
    file.sql(&moved_to("a:1")).unwrap();
    let watched = Watched::of(file, Arc::new(routes));
    assert!(watched.until(has("a:1")) != first);
}

#[test]
fn the_last_of_many_rapid_commits_is_seen() {
    let watched = Watched::new();
    let writer = watched.file.connect();
    for n in 1..=200 {
        writer.execute_batch(&moved_to(&format!("a:{n}"))).unwrap();
    }
    watched.until(has("a:200"));
}

#[test]
fn commits_apart_are_each_seen_soon() {
    let watched = Watched::new();
    watched.until_generation(1);
    let writer = watched.file.connect();
    let start = Instant::now();
    for n in 1..=50 {
        writer.execute_batch(&moved_to(&format!("a:{n}"))).unwrap();
        watched.until(has(&format!("a:{n}")));
    }
    // With polling alone this would take 50 s.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_rollback_brings_no_change() {
    let watched = Watched::new();
    let before = watched.until_generation(1);
    watched.file.sql("BEGIN; UPDATE routes SET strategy = 'noop'; ROLLBACK").unwrap();
    watched.file.sql(&moved_to("a:1")).unwrap();
    let after = watched.until(|snapshot| *snapshot != before);
    assert!(has("a:1")(&after), "{after:?}");
}

#[test]
fn nothing_is_called_while_nothing_is_committed() {
    let watched = Watched::new();
    watched.until_generation(1);
    // Longer than one polling interval.
    assert!(watched.seen.recv_timeout(Duration::from_millis(2500)).is_err());
}

#[test]
fn a_change_without_triggers_is_seen_too() {
    let watched = Watched::new();
    watched.until_generation(1);
    watched.file.sql(&format!("DROP TRIGGER cn_routes_updated; {}", moved_to("a:1"))).unwrap();
    watched.until(has("a:1"));
}

#[test]
fn without_events_looking_is_enough_and_told() {
    let (file, routes) = File::with_schema();
    let (send, changes) = mpsc::channel();
    let no_events =
        |_: &Store, _: &WakeSender| Err(notify::Error::generic("no more inotify instances"));
    let _guard =
        start_with(Arc::clone(&routes.store), Arc::new(move || send.send(()).is_ok()), no_events)
            .unwrap();
    changes.recv_timeout(TIMEOUT).unwrap();
    let warnings = routes.warnings();
    assert!(
        warnings[0].ends_with("the system does not tell of them: no more inotify instances"),
        "{warnings:?}"
    );
    file.sql("INSERT INTO routes(service_name, strategy) VALUES ('billing', 'local')").unwrap();
    changes.recv_timeout(TIMEOUT).unwrap();
}

#[test]
fn a_commit_long_after_its_event_is_seen_soon() {
    static WAKER: OnceLock<WakeSender> = OnceLock::new();
    let (file, routes) = File::with_schema();
    let (send, changes) = mpsc::channel();
    let manual = |_: &Store, sender: &WakeSender| {
        WAKER.get_or_init(|| sender.clone());
        notify::recommended_watcher(|_| {})
    };
    let _guard =
        start_with(Arc::clone(&routes.store), Arc::new(move || send.send(()).is_ok()), manual)
            .unwrap();
    changes.recv_timeout(TIMEOUT).unwrap();
    let start = Instant::now();
    WAKER.get().unwrap().wake();
    // Like a disk that takes long for a commit.
    std::thread::sleep(Duration::from_millis(100));
    file.sql("INSERT INTO routes(service_name, strategy) VALUES ('billing', 'local')").unwrap();
    changes.recv_timeout(TIMEOUT).unwrap();
    // Polling alone would detect it only after a second.
    assert!(start.elapsed() < Duration::from_millis(800), "{:?}", start.elapsed());
}

#[test]
fn a_failed_reload_is_tried_again() {
    let (file, routes) = File::with_schema();
    let (send, attempts) = mpsc::channel();
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let changed = move || {
        let works = !is_broken.load(Ordering::Acquire);
        send.send(works).is_ok() && works
    };
    let _guard = routes.watch(Arc::new(changed)).unwrap();
    for _ in 0..3 {
        assert_eq!(attempts.recv_timeout(TIMEOUT), Ok(false));
    }
    broken.store(false, Ordering::Release);
    while !attempts.recv_timeout(TIMEOUT).unwrap() {}
    file.sql("INSERT INTO routes(service_name, strategy) VALUES ('billing', 'local')").unwrap();
    assert_eq!(attempts.recv_timeout(TIMEOUT), Ok(true));
}

#[test]
fn a_panicking_reload_is_tried_again() {
    let (_file, routes) = File::with_schema();
    let (send, calls) = mpsc::channel();
    let first = AtomicBool::new(true);
    let changed = move || {
        send.send(()).unwrap();
        assert!(!first.swap(false, Ordering::AcqRel), "on purpose");
        true
    };
    let _guard = routes.watch(Arc::new(changed)).unwrap();
    calls.recv_timeout(TIMEOUT).unwrap();
    calls.recv_timeout(TIMEOUT).unwrap();
}

#[test]
fn a_replaced_file_is_noticed_and_told() {
    let watched = Watched::new();
    watched.until_generation(1);
    // Checkpoint, so that the log left behind has no frames that would apply to the new file.
    watched.file.sql("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let (other, routes) = File::with_schema();
    routes.add_missing(&[&name("billing")]).unwrap();
    drop(routes);
    other.sql(&moved_to("other:1")).unwrap();
    fs::rename(&other.path, &watched.file.path).unwrap();
    watched.until(has("other:1"));
    let warnings = watched.routes.warnings();
    assert!(warnings[0].starts_with("the file was replaced"), "{warnings:?}");
    watched.file.sql(&moved_to("other:2")).unwrap();
    watched.until(has("other:2"));
    watched.routes.add_missing(&[&name("mail")]).unwrap();
    watched.until(|snapshot| snapshot.rows.len() == 2);
}

/// Returns a copy of the file at generation 1; the file itself is then at generation 3,
/// checkpointed.
fn with_older_copy(file: &File, routes: &SqliteRoutes) -> Vec<u8> {
    let checkpoint = || file.sql("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    checkpoint();
    let copy = fs::read(&file.path).unwrap();
    file.sql(&moved_to("a:1")).unwrap();
    routes.add_missing(&[&name("mail")]).unwrap();
    checkpoint();
    copy
}

#[test]
fn a_copy_over_the_open_file_is_noticed_and_told() {
    let watched = Watched::new();
    let copy = with_older_copy(&watched.file, &watched.routes);
    watched.until_generation(3);
    watched.routes.read().unwrap();
    assert_eq!(watched.routes.warnings(), [] as [&str; 0]);
    fs::write(&watched.file.path, copy).unwrap();
    assert_eq!(watched.until_generation(1).rows, [RouteRow::new("billing", "local", None, "{}")]);
    let warnings = watched.routes.warnings();
    assert!(warnings[0].starts_with("the file was overwritten"), "{warnings:?}");
}

#[test]
fn a_copy_over_the_open_file_is_what_is_read_and_changed_next() {
    let (file, routes) = File::with_schema();
    routes.add_missing(&[&name("billing")]).unwrap();
    let copy = with_older_copy(&file, &routes);
    assert_eq!(routes.read().unwrap().generation, 3);
    fs::write(&file.path, copy).unwrap();
    assert_eq!(routes.add_missing(&[&name("mail")]), Ok(Added::Rows(1)));
    let snapshot = routes.read().unwrap();
    assert_eq!((snapshot.generation, snapshot.rows.len()), (2, 2));
    assert!(
        routes.warnings()[0].starts_with("the file was overwritten"),
        "{:?}",
        routes.warnings()
    );
}

#[test]
fn a_checkpoint_and_a_proper_restore_are_no_trouble() {
    let watched = Watched::new();
    let copy = watched.file.dir.path().join("copy.db");
    watched.file.shell(&format!(".backup '{}'", copy.display())).unwrap();
    watched.file.sql(&moved_to("a:1")).unwrap();
    watched.until_generation(2);
    watched.file.sql("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_eq!(watched.routes.read().unwrap().generation, 2);
    watched.file.shell(&format!(".restore '{}'", copy.display())).unwrap();
    watched.until_generation(1);
    watched.file.sql("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_eq!(watched.routes.read().unwrap().generation, 1);
    assert_eq!(watched.routes.warnings(), [] as [&str; 0]);
}

#[test]
fn a_log_or_its_index_deleted_beside_the_open_file_is_noticed_and_told() {
    for suffix in ["-wal", "-shm"] {
        let watched = Watched::new();
        watched.routes.add_missing(&[&name("mail")]).unwrap();
        watched.until_generation(2);
        fs::remove_file(watched.file.dir.path().join(format!("routes.db{suffix}"))).unwrap();
        let kept = watched.until(|_| !watched.routes.warnings().is_empty());
        let warnings = watched.routes.warnings();
        assert!(warnings[0].starts_with("-wal or -shm was deleted"), "{suffix}: {warnings:?}");
        assert_eq!(kept.rows.len(), 2, "{suffix}: no commit is lost");
        watched.file.shell(&moved_to("a:1")).unwrap();
        watched.until(has("a:1"));
        watched.routes.add_missing(&[&name("search")]).unwrap();
        assert_eq!(
            watched.file.shell("SELECT count(*) FROM routes"),
            Ok("3\n".to_owned()),
            "{suffix}"
        );
    }
}

#[test]
fn it_is_noticed_by_all_who_have_the_file_open_in_one_process() {
    for suffix in ["-wal", "-shm"] {
        let watched = Watched::new();
        watched.until_generation(1);
        let open = || SqliteRoutes::open(&watched.file.path).unwrap();
        let (also_watched, only_read) = (Arc::new(open()), open());
        let (send, seen) = mpsc::channel();
        let source = Arc::clone(&also_watched);
        let _guard = also_watched
            .watch(Arc::new(move || source.read().is_ok_and(|read| send.send(read).is_ok())))
            .unwrap();
        only_read.add_missing(&[&name("mail")]).unwrap();
        watched.until_generation(2);
        fs::remove_file(watched.file.dir.path().join(format!("routes.db{suffix}"))).unwrap();
        watched.until(|_| !watched.routes.warnings().is_empty());
        watched.file.shell(&moved_to("a:1")).unwrap();
        let kept = watched.until(has("a:1"));
        assert_eq!(kept.rows.len(), 2, "{suffix}: no commit is lost");
        while !has("a:1")(&seen.recv_timeout(TIMEOUT).expect("the second one never sees it")) {}
        assert!(has("a:1")(&only_read.read().unwrap()), "{suffix}: and who does not watch");
        for routes in [&also_watched, &Arc::new(only_read)] {
            assert!(
                routes.warnings()[0].starts_with("-wal or -shm was deleted"),
                "{suffix}: {:?}",
                routes.warnings()
            );
            routes.add_missing(&[&name("search")]).unwrap();
        }
        assert_eq!(
            watched.file.shell("SELECT count(*) FROM routes"),
            Ok("3\n".to_owned()),
            "{suffix}"
        );
    }
}

#[test]
fn it_is_noticed_while_another_file_is_read_or_written_for_long() {
    let watched = Watched::new();
    watched.until_generation(1);
    let (other, _routes) = File::with_schema();
    let busy = stores::share(Store::open(&other.path, Access::Existing).unwrap());
    let (_reads, _writes) = (busy.reader.lock().unwrap(), busy.writer.lock().unwrap());
    fs::remove_file(watched.file.dir.path().join("routes.db-shm")).unwrap();
    watched.until(|_| !watched.routes.warnings().is_empty());
    watched.file.shell(&moved_to("a:1")).unwrap();
    watched.until(has("a:1"));
}

#[test]
fn a_file_whose_head_is_overwritten_is_told_and_read_again_when_it_is_back() {
    let (file, routes) = File::with_schema();
    routes.add_missing(&[&name("billing")]).unwrap();
    file.sql("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let routes = Arc::new(routes);
    let (send, reads) = mpsc::channel();
    let source = Arc::clone(&routes);
    let changed = move || {
        let read = source.read();
        let works = read.is_ok();
        send.send(read).is_ok() && works
    };
    let _guard = routes.watch(Arc::new(changed)).unwrap();
    assert!(reads.recv_timeout(TIMEOUT).unwrap().is_ok());
    let content = fs::read(&file.path).unwrap();
    fs::write(&file.path, [&[0; 100], &content[100..]].concat()).unwrap();
    let text = loop {
        if let Err(e) = reads.recv_timeout(TIMEOUT).expect("it is never told") {
            break e.to_string();
        }
    };
    assert!(text.contains("routes.db: "), "{text}");
    assert!(!routes.warnings().is_empty());
    fs::write(&file.path, content).unwrap();
    while reads.recv_timeout(TIMEOUT).expect("it is never read again").is_err() {}
    assert_eq!(routes.warnings(), [] as [&str; 0]);
}

#[test]
fn a_commit_just_after_the_start_is_seen_soon() {
    let (file, routes) = File::with_schema();
    let (send, changes) = mpsc::channel();
    // As if the event of the commit came just before the subscription.
    let late = |_: &Store, _: &WakeSender| notify::recommended_watcher(|_| {});
    let _guard =
        start_with(Arc::clone(&routes.store), Arc::new(move || send.send(()).is_ok()), late)
            .unwrap();
    changes.recv_timeout(TIMEOUT).unwrap();
    let start = Instant::now();
    file.sql("INSERT INTO routes(service_name, strategy) VALUES ('billing', 'local')").unwrap();
    changes.recv_timeout(TIMEOUT).unwrap();
    // Polling alone would detect it only after a second.
    assert!(start.elapsed() < Duration::from_millis(800), "{:?}", start.elapsed());
}

#[test]
fn a_file_that_goes_and_comes_back_is_told_and_then_forgotten() {
    let watched = Watched::new();
    watched.until_generation(1);
    let away = watched.file.dir.path().join("away");
    fs::rename(&watched.file.path, &away).unwrap();
    let text = watched.routes.read().unwrap_err().to_string();
    assert!(text.contains("check the path"), "{text}");
    assert!(
        watched.routes.warnings()[0].starts_with("reading routes has failed for 0 s"),
        "{:?}",
        watched.routes.warnings()
    );
    fs::rename(&away, &watched.file.path).unwrap();
    watched.routes.read().unwrap();
    watched.file.sql(&moved_to("a:1")).unwrap();
    watched.until(has("a:1"));
    assert_eq!(watched.routes.warnings(), [] as [&str; 0]);
}

#[cfg(unix)]
#[test]
fn a_link_to_the_file_is_watched_as_well() {
    let (file, routes) = File::with_schema();
    routes.add_missing(&[&name("billing")]).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.db");
    std::os::unix::fs::symlink(&file.path, &link).unwrap();
    let watched = Watched::of(file, Arc::new(SqliteRoutes::open(&link).unwrap()));
    watched.until_generation(1);
    watched.file.sql(&moved_to("a:1")).unwrap();
    watched.until(has("a:1"));
}

#[test]
fn a_read_only_watcher_sees_others_write() {
    let (file, routes) = File::with_schema();
    routes.add_missing(&[&name("billing")]).unwrap();
    let watched =
        Watched::of(file, Arc::new(SqliteRoutes::open_read_only(routes.store.path()).unwrap()));
    watched.until_generation(1);
    watched.file.sql(&moved_to("a:1")).unwrap();
    watched.until(has("a:1"));
}

#[test]
fn dropping_the_guard_ends_the_thread_at_once() {
    let watched = Watched::new();
    watched.until_generation(1);
    let start = Instant::now();
    drop(watched.guard);
    // Without the wakeup the thread would wait for up to a second.
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    assert!(watched.seen.iter().all(|snapshot| snapshot.generation == 1), "its channel is closed");
}

#[test]
fn the_guard_may_be_dropped_from_within() {
    let (_file, routes) = File::with_schema();
    let (guard_sender, guards) = mpsc::channel::<WatchGuard>();
    let (done_sender, done_receiver) = mpsc::channel();
    let guards = std::sync::Mutex::new(guards);
    let changed = Arc::new(move || {
        drop(guards.lock().unwrap().recv_timeout(TIMEOUT));
        done_sender.send(()).is_ok()
    });
    guard_sender.send(routes.watch(changed).unwrap()).unwrap();
    done_receiver.recv_timeout(TIMEOUT).unwrap();
}
