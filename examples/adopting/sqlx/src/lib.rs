//! Stock in a database of the application's own, through sqlx 0.8. The routes file is opened by the
//! same SQLite, because there can be one only in a program.

use connectivity_core::service;
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum StockError {
    #[error("there is no {0}")]
    Unknown(String),
    #[error("the database failed")]
    #[serde(skip)]
    Sqlx(#[from] sqlx::Error),
    #[error(transparent)]
    Connectivity(#[from] connectivity_core::Error),
}

#[service]
pub trait Stock {
    async fn count(&self, item: &str) -> Result<i64, StockError>;
    async fn put(&self, item: &str, count: i64) -> Result<(), StockError>;
}

pub struct Shelf(SqlitePool);

impl Shelf {
    pub async fn open(url: &str) -> Result<Self, StockError> {
        let pool = SqlitePool::connect(url).await?;
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, count INTEGER NOT NULL)",
        )
        .execute(&pool)
        .await?;
        Ok(Self(pool))
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}

impl Stock for Shelf {
    async fn count(&self, item: &str) -> Result<i64, StockError> {
        let count = sqlx::query_scalar("SELECT count FROM stock WHERE item = ?").bind(item);
        count.fetch_optional(&self.0).await?.ok_or_else(|| StockError::Unknown(item.to_owned()))
    }

    async fn put(&self, item: &str, count: i64) -> Result<(), StockError> {
        let put = sqlx::query("INSERT OR REPLACE INTO stock VALUES (?, ?)").bind(item).bind(count);
        put.execute(&self.0).await?;
        Ok(())
    }
}
