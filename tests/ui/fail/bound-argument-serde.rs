use connectivity_core::{Error, service};

pub struct Order {
    pub pieces: u64,
}

#[service]
pub trait Stock {
    async fn take(&self, id: &str, order: Order) -> Result<u64, Error>;
    async fn plan(&self, order: Order, later: Vec<Order>) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn take(&self, _id: &str, order: Order) -> Result<u64, Error> {
        Ok(order.pieces)
    }
    async fn plan(&self, order: Order, _later: Vec<Order>) -> Result<u64, Error> {
        Ok(order.pieces)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.take("a", Order { pieces: 1 }), client.plan(Order { pieces: 1 }, vec![]));
}
