use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn new(&self) -> Result<u64, Error>;
    async fn clone(&self) -> Result<u64, Error>;
    async fn r#direct(&self) -> Result<u64, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Stock for Here {
    async fn new(&self) -> Result<u64, Error> {
        Ok(1)
    }
    async fn clone(&self) -> Result<u64, Error> {
        Ok(1)
    }
    async fn r#direct(&self) -> Result<u64, Error> {
        Ok(1)
    }
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {}
