//! Attributes of other crates and of the compiler, on traits, methods and implementations.

use connectivity_core::{Error, MemoryRoutes, Router, register, service};
use mockall::automock;

#[service]
#[doc(alias = "warehouse")]
pub trait Stock {
    #[doc = "Counts."]
    #[must_use]
    #[tracing::instrument(skip(self))]
    async fn count(&self, item: &str) -> Result<u64, Error> {
        Ok(item.len() as u64)
    }

    #[deprecated(note = "count")]
    async fn number(&self, item: &str) -> Result<u64, Error> {
        self.count(item).await
    }

    #[cfg(any())]
    async fn gone(&self, nothing: Nothing) -> Result<u64, Error>;
}

struct Shelf;

impl Stock for Shelf {
    #[tracing::instrument(skip_all, fields(item))]
    async fn count(&self, item: &str) -> Result<u64, Error> {
        Ok(item.len() as u64 + 1)
    }
}

#[service]
#[automock]
#[async_trait::async_trait]
pub trait Shop: Send + Sync {
    #[tracing::instrument(skip(self))]
    async fn open(&self, hour: u8) -> Result<bool, Error> {
        Ok(hour > 8)
    }

    async fn close(&self) -> Result<(), Error>;
}

struct Corner;

#[async_trait::async_trait]
impl Shop for Corner {
    #[tracing::instrument(skip(self))]
    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    register!(router, Stock => Shelf, ShopClient => Corner).unwrap();
    let _ = (StockClient::direct(Shelf).count("a"), ShopClient::rehearse(MockShop::new()).open(9));
}
