use connectivity_core::{Error, service};

#[derive(Clone)]
pub struct Shelf;

#[service]
pub trait Stock {
    async fn get(&self) -> Result<Shelf, Error>;
    async fn all(&self) -> Result<Shelf, Error>;
    async fn put(&self, shelf: Shelf) -> Result<Shelf, Error>;
    async fn set(&self, shelf: Shelf) -> Result<(), Error>;
    async fn compare(&self, shelf: &Shelf, other: &Shelf) -> Result<(), Error>;
}

fn main() {}
