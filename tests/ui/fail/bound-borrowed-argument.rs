use connectivity_core::{Error, service};

#[derive(serde::Serialize, serde::Deserialize)]
pub struct NotClone(u64);

#[derive(Clone)]
pub struct NotSerde(u64);

#[service]
pub trait Stock {
    async fn first(&self, order: &NotClone) -> Result<u64, Error>;
    async fn second(&self, order: &NotSerde, orders: &[NotSerde]) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn first(&self, order: &NotClone) -> Result<u64, Error> {
        Ok(order.0)
    }
    async fn second(&self, order: &NotSerde, _orders: &[NotSerde]) -> Result<u64, Error> {
        Ok(order.0)
    }
}

fn main() {
    let client = StockClient::direct(Here);
    let _ = (client.first(&NotClone(1)), client.second(&NotSerde(1), &[]));
}
