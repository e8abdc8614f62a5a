//! Serves billing to other processes until it is asked to stop. The path of its socket is the first argument.

use std::error::Error;
use std::time::Duration;

use adopting_functions_after::billing::{Billing, Stripe};
use connectivity_core::{MemoryRoutes, Router, Server, register};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("the path of a socket is missing")?;
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router, Billing => Stripe)?;
    let server = Server::builder(&router).expose(["billing"]).unix(path).start().await?;
    server.run_until_signal(Duration::from_secs(5)).await?;
    Ok(())
}
