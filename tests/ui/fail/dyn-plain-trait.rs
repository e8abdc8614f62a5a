use std::sync::Arc;

use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn count(&self) -> Result<u64, Error>;
}

struct Shop {
    _stock: Arc<dyn Stock>,
}

fn main() {}
