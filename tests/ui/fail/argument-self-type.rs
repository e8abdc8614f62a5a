use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn bad(&self, other: Option<Self>) -> Result<u64, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn bad(&self, other: Option<Self>) -> Result<u64, Error> {
        Ok(u64::from(other.is_some()))
    }
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {}
