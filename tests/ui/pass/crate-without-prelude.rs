//! Generated code does not depend on names in scope at the trait.
#![no_implicit_prelude]
#![deny(warnings)]

#[::connectivity_core::service]
pub trait Bare {
    async fn get(&self, key: &str) -> ::core::result::Result<u64, ::connectivity_core::Error>;
    #[noop(default)]
    async fn put(&self, key: &str, value: u64) -> ::core::result::Result<(), ::connectivity_core::Error> {
        self.get(key).await?;
        let _ = value;
        ::core::result::Result::Ok(())
    }
}

struct Here;

impl Bare for Here {
    async fn get(&self, _key: &str) -> ::core::result::Result<u64, ::connectivity_core::Error> {
        ::core::result::Result::Ok(1)
    }
}

fn main() {
    let client = BareClient::direct(Here);
    let _ = client.get("a");
    let _ = client.put("a", 1);
}
