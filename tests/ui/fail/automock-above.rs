use async_trait::async_trait;
use connectivity_core::{Error, service};
use mockall::automock;

#[automock]
#[service]
#[async_trait]
pub trait Stock: Send + Sync {
    async fn count(&self) -> Result<u64, Error>;
}

fn main() {}
