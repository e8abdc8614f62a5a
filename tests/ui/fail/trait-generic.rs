use connectivity_core::{Error, service};

#[service]
pub trait Stock<T> {
    async fn good(&self, item: T) -> Result<u64, Error>;
}

struct Here;

impl Stock<u64> for Here {
    async fn good(&self, item: u64) -> Result<u64, Error> {
        Ok(item)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = client.good(1);
}
