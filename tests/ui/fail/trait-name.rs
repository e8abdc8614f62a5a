use connectivity_core::{Error, service};

#[service]
pub trait Überweisung {
    async fn good(&self) -> Result<u64, Error>;
}

struct Here;

impl Überweisung for Here {
    async fn good(&self) -> Result<u64, Error> {
        Ok(1)
    }
}

fn main() {
    let client = ÜberweisungClient::direct(Here);
    let _ = client.good();
}
