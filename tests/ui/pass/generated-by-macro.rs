//! A user's macro may generate the trait.
#![deny(warnings)]

use connectivity_core::{Error, service};

macro_rules! store {
    ($name:ident, $key:ident: $ty:ty, $value:ty) => {
        #[service]
        pub trait $name {
            async fn get(&self, $key: $ty) -> Result<$value, Error>;
            async fn set(&self, $key: $ty, value: $value) -> Result<(), Error> {
                let _ = ($key, value);
                Ok(())
            }
        }
    };
}

store!(Store, key: &str, u64);

struct Here;

impl Store for Here {
    async fn get(&self, key: &str) -> Result<u64, Error> {
        Ok(key.len() as u64)
    }
}

#[tokio::main]
async fn main() {
    let client = StoreClient::direct(Here);
    assert_eq!(client.get("ab").await, Ok(2));
    assert_eq!(client.set("ab", 1).await, Ok(()));
}
