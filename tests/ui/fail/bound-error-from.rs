use connectivity_core::service;

#[derive(serde::Serialize, serde::Deserialize)]
pub enum StockError {
    Empty,
}

#[service]
pub trait Stock {
    async fn one(&self) -> Result<u64, StockError>;
    async fn two(&self) -> Result<String, StockError>;
}

struct Here;

impl Stock for Here {
    async fn one(&self) -> Result<u64, StockError> {
        Err(StockError::Empty)
    }
    async fn two(&self) -> Result<String, StockError> {
        Err(StockError::Empty)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.one(), client.two());
}
