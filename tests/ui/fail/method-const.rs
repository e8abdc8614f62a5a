use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    const fn bad(&self) -> Result<u64, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    fn bad(&self) -> Result<u64, Error> {
        Ok(1)
    }
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.good(), client.bad());
}
