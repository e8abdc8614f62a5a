//! Rows that a registration adds to the routes file.

use std::path::Path;
use std::time::Duration;

use connectivity_core::{RegisterError, Router, register};
use rusqlite::Connection;
use tests::shop::*;

fn rows(shell: &Connection) -> Vec<String> {
    let mut rows =
        shell.prepare("SELECT service_name || ' ' || strategy FROM routes ORDER BY 1").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

async fn open(dir: &Path) -> (Router, Connection) {
    let path = dir.join("routes.db");
    (Router::open_or_create(&path).await.unwrap(), Connection::open(&path).unwrap())
}

async fn wait_until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

#[tokio::test]
async fn a_row_that_an_operators_transaction_holds_up_comes_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (router, shell) = open(dir.path()).await;
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    register!(router, Billing => Shop::at("here")).unwrap();
    router.register_raw("thumbnail", async |image| Ok(image)).unwrap();
    assert_eq!(BillingClient::new(&router).quote("abc").await.unwrap(), 3, "it is registered");
    let again = router.register_raw("thumbnail", async |image| Ok(image));
    assert!(matches!(again, Err(RegisterError::AlreadyRegistered(_))), "{again:?}");
    let warnings = router.inspect().warnings;
    assert!(
        warnings[0].starts_with("rows for `billing`, `thumbnail` could not be added yet: "),
        "{warnings:?}"
    );
    assert_eq!(rows(&shell), [""; 0]);
    shell.execute_batch("COMMIT").unwrap();
    wait_until(|| router.inspect().warnings.is_empty()).await;
    assert_eq!(rows(&shell), ["billing local", "thumbnail local"]);
    assert!(
        router.inspect().route("billing").is_some()
            && router.inspect().route("thumbnail").is_some()
    );
}

#[tokio::test]
async fn a_row_that_the_operator_writes_meanwhile_is_the_one_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (router, shell) = open(dir.path()).await;
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    register!(router, Billing => Shop::at("here")).unwrap();
    assert!(!router.inspect().warnings.is_empty(), "its row waits");
    shell
        .execute_batch(
            "INSERT INTO routes(service_name, strategy) VALUES ('billing', 'noop'); COMMIT",
        )
        .unwrap();
    wait_until(|| router.inspect().warnings.is_empty()).await;
    assert_eq!(rows(&shell), ["billing noop"]);
    wait_until(|| {
        router.inspect().route("billing").is_some_and(|row| row.strategy.as_deref() == Some("noop"))
    })
    .await;
}
