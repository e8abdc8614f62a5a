use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn bad(&self, key: &str) -> Result<&str, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn bad(&self, _key: &str) -> Result<&str, Error> {
        Ok("")
    }
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.good(), client.bad(""));
}
