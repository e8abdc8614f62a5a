//! A second process for the tests: serves `billing` on one strategy until it is killed or its
//! standard input ends.
//!
//! `billing-server STRATEGY ADDRESS JOURNAL [CERTIFICATE KEY]` prints its address and, for `quic`,
//! the pin of its certificate. It generates a new certificate at each start unless it gets two
//! files.
#![allow(clippy::print_stdout, reason = "the tests read what it prints")]

use std::error::Error;
use std::io::Read;
use std::path::Path;

use connectivity_core::{MemoryRoutes, Router, Server, Tls, register};
use tests::shop::{Billing, Shop};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [strategy, address, journal, identity @ ..] = &arguments[..] else {
        return Err("billing-server STRATEGY ADDRESS JOURNAL [CERTIFICATE KEY]".into());
    };
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router, Billing => Shop::at("far").with_file(Path::new(journal)))?;
    let builder = Server::builder(&router).expose(["billing"]);
    let mut pin = String::new();
    let server = match &**strategy {
        "http" => builder.http(address).start().await?,
        "unix" => builder.unix(address).start().await?,
        _ => {
            let tls = match identity {
                [certificate, key] => Tls::from_pem(certificate, key)?,
                _ => Tls::self_signed(["localhost"])?,
            };
            pin = tls.pin_sha256();
            builder.quic(address, tls).start().await?
        }
    };
    println!("{} {pin}", server.address(strategy).unwrap_or_default());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
