use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn bad(&self, text: &dyn ToString) -> Result<u64, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

fn main() {}
