use async_trait::async_trait;
use connectivity_core::{Error, service};

#[service]
#[async_trait(?Send)]
pub trait Stock: Send + Sync {
    async fn count(&self, sku: &str) -> Result<u64, Error>;
}

fn main() {}
