use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn bad(&self, text: Vec<std::borrow::Cow<'_, str>>) -> Result<u64, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn bad(&self, text: Vec<std::borrow::Cow<'_, str>>) -> Result<u64, Error> {
        Ok(text.len() as u64)
    }
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.good(), client.bad(vec!["".into()]));
}
