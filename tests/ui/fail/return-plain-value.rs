use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn bad(&self) -> u64;
    async fn list(&self) -> Vec<String>;
    async fn pair(&self) -> (u64, u64);
    async fn optional(&self) -> Option<u64>;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn bad(&self) -> u64 {
        1
    }
    async fn list(&self) -> Vec<String> {
        vec![]
    }
    async fn pair(&self) -> (u64, u64) {
        (1, 1)
    }
    async fn optional(&self) -> Option<u64> {
        None
    }
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.good(), client.bad());
}
