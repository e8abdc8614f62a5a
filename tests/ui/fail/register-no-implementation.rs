use connectivity_core::{Error, Router, register, service};

#[service]
pub trait Stock {
    async fn count(&self) -> Result<u64, Error>;
}

struct Shelf;

fn add(router: &Router) {
    register!(router, Stock => Shelf).unwrap();
}

fn main() {
    let _ = add;
}
