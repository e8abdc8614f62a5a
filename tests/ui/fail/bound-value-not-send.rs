use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn shared(&self) -> Result<std::rc::Rc<u64>, Error>;
}

fn main() {}
