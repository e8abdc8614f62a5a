//! Arguments and methods may have names that generated code uses itself.
#![deny(warnings)]

use connectivity_core::{Error, service};

#[service]
pub trait Names {
    async fn call(&self, ctx: u8, client: u8, call: u8, r#type: u8, request: u8) -> Result<u8, Error>;
    async fn register(&self, self_: u8, future: u8, service: u8, result: u8, handle: u8) -> Result<u8, Error>;
    async fn fast(&self, method: u8, index: u8, implementation: u8, router: u8, limit: u8) -> Result<u8, Error>;
    async fn slow(&self) -> Result<u8, Error>;
    async fn handle(&self) -> Result<u8, Error>;
    async fn dispatch(&self) -> Result<u8, Error>;
    async fn desc(&self) -> Result<u8, Error>;
    async fn into_parts(&self) -> Result<u8, Error>;
    async fn borrow(&self, text: &str) -> Result<u8, Error>;
    async fn fmt(&self) -> Result<u8, Error>;
}

struct Here;

impl Names for Here {
    async fn call(&self, ctx: u8, client: u8, call: u8, r#type: u8, request: u8) -> Result<u8, Error> {
        Ok(ctx + client + call + r#type + request)
    }
    async fn register(&self, self_: u8, future: u8, service: u8, result: u8, handle: u8) -> Result<u8, Error> {
        Ok(self_ + future + service + result + handle)
    }
    async fn fast(&self, method: u8, index: u8, implementation: u8, router: u8, limit: u8) -> Result<u8, Error> {
        Ok(method + index + implementation + router + limit)
    }
    async fn slow(&self) -> Result<u8, Error> {
        Ok(0)
    }
    async fn handle(&self) -> Result<u8, Error> {
        Ok(0)
    }
    async fn dispatch(&self) -> Result<u8, Error> {
        Ok(0)
    }
    async fn desc(&self) -> Result<u8, Error> {
        Ok(0)
    }
    async fn into_parts(&self) -> Result<u8, Error> {
        Ok(0)
    }
    async fn borrow(&self, _text: &str) -> Result<u8, Error> {
        Ok(0)
    }
    async fn fmt(&self) -> Result<u8, Error> {
        Ok(0)
    }
}

#[tokio::main]
async fn main() {
    let direct = NamesClient::direct(Here);
    for client in [direct.clone(), direct.with_timeout(std::time::Duration::from_secs(10))] {
        assert_eq!(client.call(1, 2, 3, 4, 5).await, Ok(15));
        assert_eq!(client.register(1, 2, 3, 4, 5).await, Ok(15));
        assert_eq!(client.fast(1, 2, 3, 4, 5).await, Ok(15));
        assert_eq!(client.borrow("").await, Ok(0));
    }
    let _ = format!("{:?} {:?}", direct, NamesService::new(Here));
}
