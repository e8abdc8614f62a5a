use std::error::Error;

use connectivity_core::service;

#[service]
pub trait Stock {
    async fn count(&self) -> Result<u64, Box<dyn Error>>;
    async fn clear(&self) -> Result<(), Box<dyn Error + Send>>;
}

fn main() {}
