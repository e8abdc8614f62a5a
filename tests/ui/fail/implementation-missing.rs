use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

fn main() {
    let client = StockClient::direct(Here);
    let _ = client.good();
}
