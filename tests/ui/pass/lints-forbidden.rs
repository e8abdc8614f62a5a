//! Generated code does not `allow` any lint that an application may forbid.
#![forbid(deprecated, non_camel_case_types, non_snake_case, unused_imports, unused_variables, dead_code)]

use connectivity_core::{Error, service};

#[service]
pub trait Prices {
    /// Is deprecated.
    #[deprecated = "ask `get`"]
    async fn old_price(&self, item: &str) -> Result<u64, Error>;
    async fn get(&self, item: &str, r#type: u8) -> Result<u64, Error>;
    #[cfg_attr(all(), cfg(any()), doc(hidden))]
    async fn absent(&self, value: NoSuchType) -> Result<NoSuchType, NoSuchError>;
    #[cfg_attr(any(), cfg(any()))]
    async fn present(&self) -> Result<u8, Error>;
    #[cfg_attr(all(), cfg(all()))]
    async fn both(&self, item: &str) -> Result<u8, Error>;
}

struct Here;

impl Prices for Here {
    async fn old_price(&self, item: &str) -> Result<u64, Error> {
        self.get(item, 0).await
    }
    async fn get(&self, item: &str, r#type: u8) -> Result<u64, Error> {
        Ok(item.len() as u64 + u64::from(r#type))
    }
    async fn present(&self) -> Result<u8, Error> {
        Ok(1)
    }
    async fn both(&self, item: &str) -> Result<u8, Error> {
        Ok(item.len() as u8)
    }
}

async fn through_the_trait(prices: impl Prices) -> Result<u64, Error> {
    prices.get("a", 1).await
}

fn main() {
    let client = PricesClient::direct(Here);
    drop((client.present(), client.both("")));
    drop(through_the_trait(client));
}
