use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn bad(value: u64) -> Result<u64, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn bad(_value: u64) -> Result<u64, Error> {
        Ok(1)
    }
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {}
