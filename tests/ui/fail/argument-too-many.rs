use connectivity_core::{Error, service};

#[service]
pub trait Stock {
    async fn bad(
        &self,
        a: u8,
        b: u8,
        c: u8,
        d: u8,
        e: u8,
        f: u8,
        g: u8,
        h: u8,
        i: u8,
        j: u8,
        k: u8,
        l: u8,
        m: u8,
    ) -> Result<u64, Error>;
    async fn good(&self) -> Result<u64, Error>;
}

fn main() {}
