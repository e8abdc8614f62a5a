use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn find(&self, name: impl Into<String>) -> Result<u64, Error>;
    async fn open(&self, path: impl AsRef<str>) -> Result<u64, Error>;
    async fn sum(&self, numbers: impl Iterator<Item = u64>) -> Result<u64, Error>;
}

fn main() {}
