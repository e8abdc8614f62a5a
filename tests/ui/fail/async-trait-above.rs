use async_trait::async_trait;
use connectivity_core::{Error, register, service};

#[async_trait]
#[service]
pub trait Stock: Send + Sync {
    async fn count(&self, sku: &str) -> Result<u64, Error>;
}

struct Here;

#[async_trait]
impl Stock for Here {
    async fn count(&self, sku: &str) -> Result<u64, Error> {
        Ok(sku.len() as u64)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = client.count("a");
}

pub fn registered(router: &connectivity_core::Router) {
    let _ = register!(router, Stock => Here);
}
