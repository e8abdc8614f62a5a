use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::new(&Here);
    let _ = client.good();
}
