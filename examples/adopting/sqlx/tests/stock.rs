//! Both databases are used at once, in one program.

use std::sync::Arc;

use adopting_sqlx::{Shelf, Stock, StockClient, StockError};
use connectivity_core::{ErrorKind, Router, register};

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_file_and_the_application_share_one_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", dir.path().join("stock.db").display());
    let router = Router::open_or_create(dir.path().join("routes.db")).await.unwrap();
    let shelf = Arc::new(Shelf::open(&url).await.unwrap());
    register!(router, Stock => Arc::clone(&shelf)).unwrap();
    let stock = StockClient::new(&router);
    stock.put("apple", 3).await.unwrap();
    assert_eq!(stock.count("apple").await.unwrap(), 3);
    assert!(matches!(stock.count("pear").await, Err(StockError::Unknown(item)) if item == "pear"));

    router.admin().unwrap().set_strategy("stock", "noop").await.unwrap();
    router.reload().await.unwrap();
    match stock.count("apple").await {
        Err(StockError::Connectivity(error)) => assert_eq!(error.kind(), ErrorKind::Noop),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_sqlx_is_the_error_here_and_internal_elsewhere() {
    let shelf = Arc::new(Shelf::open("sqlite::memory:").await.unwrap());
    shelf.close().await;
    let here = StockClient::direct(Arc::clone(&shelf)).count("apple").await;
    assert!(matches!(here, Err(StockError::Sqlx(sqlx::Error::PoolClosed))), "{here:?}");
    match StockClient::rehearse(shelf).count("apple").await {
        Err(StockError::Connectivity(error)) => assert_eq!(error.kind(), ErrorKind::Internal),
        other => panic!("{other:?}"),
    }
}
