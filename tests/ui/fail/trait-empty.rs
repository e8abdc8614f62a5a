use connectivity_core::{Error, service};

#[service]
pub trait Stock {}

struct Here;

impl Stock for Here {}

fn main() {
    let _ = (StockClient::direct(Here), Error::clone);
}
