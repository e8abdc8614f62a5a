use connectivity_core::{Error, service};

macro_rules! methods {
    () => {};
}

#[service]
pub trait Stock {
    methods!();
    async fn good(&self) -> Result<u64, Error>;
}

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
