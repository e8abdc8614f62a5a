use connectivity_core::{Error, service};

pub struct Receipt;

#[service]
pub trait Stock {
    async fn one(&self) -> Result<Receipt, Error>;
    async fn two(&self) -> Result<Receipt, Error>;
    async fn all(&self) -> Result<Vec<Receipt>, Error>;
}

struct Here;

impl Stock for Here {
    async fn one(&self) -> Result<Receipt, Error> {
        Ok(Receipt)
    }
    async fn two(&self) -> Result<Receipt, Error> {
        Ok(Receipt)
    }
    async fn all(&self) -> Result<Vec<Receipt>, Error> {
        Ok(vec![])
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.one(), client.two(), client.all());
}
