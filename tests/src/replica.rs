//! A second process for the tests: a subscriber that listens until it is killed or its standard
//! input ends.
//!
//! `replica DIRECTORY CERTIFICATE KEY` prints its address.
#![allow(clippy::print_stdout, reason = "the tests read what it prints")]

use std::error::Error;
use std::io::Read;

use connectivity_core::Tls;
use connectivity_core::dbsync::Subscriber;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [directory, certificate, key] = &arguments[..] else {
        return Err("replica DIRECTORY CERTIFICATE KEY".into());
    };
    let subscriber = Subscriber::builder(directory).open().await?;
    let listener = subscriber.listen("127.0.0.1:0", Tls::from_pem(certificate, key)?).await?;
    println!("{}", listener.address());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
