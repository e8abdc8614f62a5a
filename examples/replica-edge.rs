//! How does a process read a few tables of another process's database? This one keeps a replica of
//! them, and answers from it whether or not the other one is there.
//!
//! ```text
//! cargo run --release --example replica-edge
//! ```
//!
//! Then start `replica-main` in another terminal, with the arguments that this program prints.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use connectivity_core::Tls;
use connectivity_core::dbsync::{Reader, Subscriber, SyncError};
use tokio::sync::Notify;

/// Keeps a replica of a shop's products.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen for the publisher: an address of this machine, because this example asks
    /// nobody who they are.
    #[arg(long, default_value = "127.0.0.1:4437")]
    listen: String,
    /// The directory of the replica.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("shop-replica"))]
    directory: PathBuf,
}

/// Answers a question from the replica.
fn describe(reader: &Reader) -> Result<String, Box<dyn Error>> {
    let (count, cheapest): (i64, i64) =
        reader.query_row("SELECT count(*), min(cents) FROM products", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let version = reader.snapshot().version;
    Ok(format!("version {version}: {count} products, the cheapest for {cheapest} cents"))
}

/// Prints how far the first transfer has come.
async fn show_progress(subscriber: &Subscriber) {
    while !subscriber.status().has_db {
        if let Some(progress) = subscriber.status().receiving {
            print!("\r  {} of {} KiB ", progress.done >> 10, progress.total >> 10);
            let _ = std::io::stdout().flush();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!();
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let swapped = Arc::new(Notify::new());
    let notify = Arc::clone(&swapped);
    let subscriber = Subscriber::builder(&arguments.directory)
        .on_swap(move |_snapshot| notify.notify_one())
        .open()
        .await?;
    // For development: only its pin vouches for this certificate, and each start generates a new
    // one.
    let tls = Tls::self_signed(["localhost"])?;
    let pin = tls.pin_sha256();
    let listener = subscriber.listen(&arguments.listen, tls).await?;
    println!(
        "cargo run --release --example replica-main -- --edge {} --pin {pin}",
        listener.address()
    );
    match subscriber.reader() {
        Ok(reader) => println!("from before, {}", describe(&reader)?),
        Err(SyncError::NoSnapshot) => show_progress(&subscriber).await,
        Err(other) => return Err(other.into()),
    }
    loop {
        tokio::select! {
            () = swapped.notified() => println!("{}", describe(&subscriber.reader()?)?),
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                listener.shutdown(Duration::from_secs(10)).await;
                return Ok(());
            }
        }
    }
}
