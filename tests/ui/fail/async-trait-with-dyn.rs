use async_trait::async_trait;
use connectivity_core::{Error, service};

#[service(dyn = DynStock)]
#[async_trait]
pub trait Stock: Send + Sync {
    async fn count(&self, sku: &str) -> Result<u64, Error>;
}

fn main() {}
