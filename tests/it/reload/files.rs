//! Changes of rows in a file by other programs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connectivity_core::{ErrorKind, HttpTransport, MemoryRoutes, Router, Server, register};
use tests::shop::*;

use super::Marks;

fn execute(connection: &rusqlite::Connection, sql: &str) -> Result<usize, rusqlite::Error> {
    connection.execute(sql, [])
}

/// Waits until a router has put this generation in force.
async fn wait_for_generation(router: &Router, generation: u64) {
    let start = Instant::now();
    while router.generation() < generation {
        assert!(start.elapsed() < Duration::from_secs(20), "the change was not seen");
        tokio::task::yield_now().await;
    }
}

fn generation(connection: &rusqlite::Connection) -> u64 {
    let value =
        connection.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| {
            row.get::<_, i64>(0)
        });
    u64::try_from(value.unwrap()).unwrap()
}

#[tokio::test]
async fn a_service_is_moved_by_sql_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.db");
    let error = Router::open(&path).await.unwrap_err().to_string();
    assert!(error.contains("routes.db"), "a missing file is named: {error}");

    let router = Router::open_or_create(&path).await.unwrap();
    register!(router, Billing => Shop::at("here")).unwrap();
    let billing = BillingClient::new(&router);
    let shell = rusqlite::Connection::open(&path).unwrap();
    let changed =
        execute(&shell, "UPDATE routes SET strategy='noop' WHERE service_name='billing'").unwrap();
    assert_eq!(changed, 1, "registering added the row");
    wait_for_generation(&router, generation(&shell)).await;
    assert_eq!(billing.quote("abc").await, Ok(7));

    let error = execute(&shell, "UPDATE routes SET strategy='htpp' WHERE service_name='billing'")
        .unwrap_err();
    assert!(error.to_string().contains("SELECT name FROM strategies"), "{error}");
    let error =
        execute(&shell, "UPDATE routes SET config='timeout=5' WHERE service_name='billing'")
            .unwrap_err();
    assert!(error.to_string().contains("JSON object"), "{error}");

    execute(&shell, "DELETE FROM routes").unwrap();
    wait_for_generation(&router, generation(&shell)).await;
    assert_eq!(billing.quote("abc").await, Ok(3));
}

#[tokio::test]
async fn a_second_program_opens_the_same_file_and_adds_its_own_strategy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.db");
    let one = Router::open_or_create(&path).await.unwrap();
    let two = Router::builder().transport("mark", Marks::default()).open(&path).await.unwrap();
    let shell = rusqlite::Connection::open(&path).unwrap();
    execute(
        &shell,
        "INSERT INTO routes(service_name, strategy, endpoint) VALUES('thumb', 'mark', 'there')",
    )
    .unwrap();
    for router in [&one, &two] {
        wait_for_generation(router, generation(&shell)).await;
    }
    assert_eq!(two.call("thumb", "x").await.unwrap(), "there");
    assert_eq!(one.call("thumb", "x").await.unwrap_err().kind(), ErrorKind::NoTransport);
}

/// State of the flips, shared with the callers of the next test.
#[derive(Default)]
struct Flips {
    /// Odd while a flip is in progress.
    epoch: AtomicUsize,
    strategy: Mutex<&'static str>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_flips_lose_no_call_and_send_none_astray() {
    const TASKS: usize = 32;
    const FLIPS: usize = 1000;
    let server_router = router(&MemoryRoutes::new());
    let shop = Shop::at("far");
    register!(server_router, Billing => shop.clone()).unwrap();
    let server =
        Server::builder(&server_router).expose_all().http("127.0.0.1:0").start().await.unwrap();
    let endpoint = format!("http://{}/billing", server.address("http").unwrap());

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.db");
    let http = HttpTransport::new().allow_internal();
    let client = Router::builder().transport("http", http).open_or_create(&path).await.unwrap();
    register!(client, Billing => Shop::at("here")).unwrap();
    let billing = BillingClient::new(&client);
    let flips = Arc::new(Flips { strategy: Mutex::new("local"), ..Flips::default() });
    let (stop, calls, at_server) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );

    let callers: Vec<_> = (0..TASKS)
        .map(|_| {
            let (billing, flips, stop) = (billing.clone(), Arc::clone(&flips), Arc::clone(&stop));
            let (calls, at_server) = (Arc::clone(&calls), Arc::clone(&at_server));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let epoch = flips.epoch.load(Ordering::SeqCst);
                    let strategy_before = *flips.strategy.lock().unwrap();
                    let result = billing.charge("17", 1).await;
                    let served = match result {
                        Ok(receipt) => receipt.served_by,
                        Err(BillingError::Connectivity(error))
                            if error.kind() == ErrorKind::Noop =>
                        {
                            "noop".into()
                        }
                        Err(error) => panic!("a call failed: {error}"),
                    };
                    calls.fetch_add(1, Ordering::Relaxed);
                    at_server.fetch_add(usize::from(served == "far"), Ordering::Relaxed);
                    let settled = epoch % 2 == 0 && flips.epoch.load(Ordering::SeqCst) == epoch;
                    let expected = match strategy_before {
                        "local" => "here",
                        "http" => "far",
                        other => other,
                    };
                    assert!(
                        !settled || served == expected,
                        "served by {served} while the row said {strategy_before}"
                    );
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();

    let shell = rusqlite::Connection::open(&path).unwrap();
    shell.execute_batch("PRAGMA synchronous = OFF").unwrap();
    for flip in 0..FLIPS {
        let strategy = ["http", "noop", "local"][flip % 3];
        flips.epoch.fetch_add(1, Ordering::SeqCst);
        let sql = "UPDATE routes SET strategy = ?1, endpoint = ?2 WHERE service_name = 'billing'";
        assert_eq!(shell.execute(sql, (strategy, &endpoint)).unwrap(), 1);
        wait_for_generation(&client, generation(&shell)).await;
        *flips.strategy.lock().unwrap() = strategy;
        flips.epoch.fetch_add(1, Ordering::SeqCst);
        // Let calls start and end under this row, on every path.
        let before = calls.load(Ordering::Relaxed);
        while calls.load(Ordering::Relaxed) < before + TASKS {
            assert!(callers.iter().all(|caller| !caller.is_finished()), "a caller failed");
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let ran = shop.journal.orders.lock().unwrap().len();
    assert_eq!(ran, at_server.load(Ordering::Relaxed), "the far end ran each call once");
    assert!(ran > FLIPS, "{ran} calls over http");
}
