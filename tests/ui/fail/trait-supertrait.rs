use connectivity_core::{Error, service};

#[service]
pub trait Stock: Clone + Send {
    async fn good(&self) -> Result<u64, Error>;
}

#[derive(Clone)]
struct Here;

impl Stock for Here {
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = client.good();
}
