use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    type Item;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    type Item = u64;
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = client.good();
}
