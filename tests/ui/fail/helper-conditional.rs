use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    #[cfg_attr(all(), idempotent)]
    async fn bad(&self) -> Result<u64, Error>;
    #[cfg_attr(any(), doc = "", noop = 1)]
    async fn worse(&self) -> Result<u64, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn bad(&self) -> Result<u64, Error> {
        Ok(1)
    }
    async fn worse(&self) -> Result<u64, Error> {
        Ok(1)
    }
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.good(), client.bad(), client.worse());
}
