use connectivity_core::{Error, service};

#[derive(serde::Serialize, serde::Deserialize)]
pub enum Colour {
    Red,
}

#[service]
pub trait Stock {
    #[noop(default)]
    async fn bad(&self) -> Result<Colour, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn bad(&self) -> Result<Colour, Error> {
        Ok(Colour::Red)
    }
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.good(), client.bad());
}
