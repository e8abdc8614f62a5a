use async_trait::async_trait;
use connectivity_core::{Error, service};

pub trait Named {
    fn name(&self) -> String;
}

#[service]
#[async_trait]
pub trait Stock: Named + Send + Sync {
    async fn count(&self, sku: &str) -> Result<u64, Error>;
}

fn main() {}
