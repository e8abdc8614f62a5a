use connectivity_core::{Error, service};

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Receipt;

#[service]
pub trait Stock {
    async fn one(&self) -> Receipt;
    async fn two(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn one(&self) -> Receipt {
        Receipt
    }
    async fn two(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.one(), client.two());
}
