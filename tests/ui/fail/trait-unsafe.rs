use connectivity_core::{Error, service};

#[service]
pub unsafe trait Stock {
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

unsafe impl Stock for Here {
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = client.good();
}
