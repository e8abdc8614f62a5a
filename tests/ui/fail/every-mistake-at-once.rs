use connectivity_core::{Error, service};

#[service(name = "a b", colour = 1)]
pub trait Stock: Copy {
    const LIMIT: u64;
    fn first(&self) -> Result<u64, Error>;
    async fn second(&mut self, (x, y): (u64, u64), text: Vec<&str>) -> u64;
    #[noop]
    #[idempotent(yes)]
    async fn new<T>(value: impl Send);
}

fn main() {}
