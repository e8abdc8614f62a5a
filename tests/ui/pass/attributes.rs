//! Attributes of `#[service]` and attributes of the user on the same items.
#![deny(warnings, missing_docs)]

use connectivity_core::{Error, service};

/// Prices.
#[service(name = "price-list")]
#[allow(clippy::too_many_arguments)]
pub trait Prices {
    /// Looks up a price.
    #[readonly]
    #[noop = 1 + 1]
    async fn get(&self, item: &str) -> Result<u64, Error>;
    /// Sets a price.
    #[idempotent]
    #[noop(default)]
    async fn set(&self, item: &str, price: u64) -> Result<u64, Error>;
    /// Starts a sale.
    #[no_cancel]
    #[readonly]
    async fn sale(&self) -> Result<(), Error>;
    /// Is compiled out.
    #[cfg(any())]
    #[noop = NoSuchThing]
    async fn absent(&self, value: NoSuchType) -> Result<NoSuchType, NoSuchError>;
    /// First of two alternatives.
    #[cfg(not(any()))]
    async fn either(&self) -> Result<u8, Error>;
    /// Second of two alternatives.
    #[cfg(any())]
    async fn either(&self) -> Result<u16, Error>;
    /// Is deprecated.
    #[deprecated]
    async fn old(&self) -> Result<u8, Error>;
}

struct Here;

impl Prices for Here {
    async fn get(&self, _item: &str) -> Result<u64, Error> {
        Ok(0)
    }
    async fn set(&self, _item: &str, price: u64) -> Result<u64, Error> {
        Ok(price)
    }
    async fn sale(&self) -> Result<(), Error> {
        Ok(())
    }
    async fn either(&self) -> Result<u8, Error> {
        Ok(1)
    }
    async fn old(&self) -> Result<u8, Error> {
        Ok(1)
    }
}

/// Is compiled out as a whole.
#[service]
#[cfg(any())]
pub trait Absent {
    /// Is compiled out.
    async fn absent(&self) -> Result<NoSuchType, NoSuchError>;
}

#[tokio::main]
async fn main() {
    let client = PricesClient::direct(Here);
    assert_eq!(client.set("a", 3).await, Ok(3));
    assert_eq!(client.sale().await, Ok(()));
    assert_eq!(client.either().await, Ok(1));
}
