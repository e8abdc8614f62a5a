use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async extern "C" fn bad(&self) -> Result<u64, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

fn main() {}
