use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn good(&self) -> Result<u64, Error> {
        let local = std::rc::Rc::new(1);
        std::future::ready(()).await;
        Ok(*local)
    }
}

fn main() {
    let _ = StockClient::direct(Here);
}
