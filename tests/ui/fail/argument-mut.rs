use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn bad(&self, mut x: u64) -> Result<u64, Error> {
        x += 1;
        Ok(x)
    }
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
    let _ = (client.good(), client.bad(1));
}
