//! The runtime crate may have another name.
#![deny(warnings)]

pub extern crate connectivity_core as renamed;

mod inner {
    pub use renamed as runtime;
}

#[renamed::service(crate = renamed)]
pub trait Direct {
    async fn get(&self) -> Result<u64, renamed::Error>;
}

#[renamed::service(name = "elsewhere", crate = crate::inner::runtime)]
pub trait ThroughModule {
    async fn get(&self) -> Result<u64, renamed::Error>;
}

struct Here;

impl Direct for Here {
    async fn get(&self) -> Result<u64, renamed::Error> {
        Ok(1)
    }
}

impl ThroughModule for Here {
    async fn get(&self) -> Result<u64, renamed::Error> {
        Ok(2)
    }
}

#[tokio::main]
async fn main() {
    assert_eq!(DirectClient::direct(Here).get().await, Ok(1));
    assert_eq!(ThroughModuleClient::direct(Here).get().await, Ok(2));
}
