use connectivity_core::{Error, Router, register, service};

#[service]
pub trait Stock {
    async fn count(&self) -> Result<u64, Error>;
}

struct Shelf;

impl Stock for Shelf {
    async fn count(&self) -> Result<u64, Error> {
        Ok(0)
    }
}

fn add(router: &Router) {
    register!(router, Stok => Shelf).unwrap();
}

fn main() {
    let _ = add;
}
