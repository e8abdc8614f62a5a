use connectivity_core::service;

pub enum StockError {
    Empty,
}

type StockResult<T> = Result<T, StockError>;

#[service]
pub trait Stock {
    async fn one(&self) -> StockResult<u64>;
    async fn two(&self) -> StockResult<u64>;
}

struct Here;

impl Stock for Here {
    async fn one(&self) -> StockResult<u64> {
        Err(StockError::Empty)
    }
    async fn two(&self) -> StockResult<u64> {
        Err(StockError::Empty)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.one(), client.two());
}
