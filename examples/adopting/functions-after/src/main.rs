//! Serves the shop until Ctrl-C. The address is the first argument.

use std::error::Error;

use adopting_functions_after::billing::{Billing, BillingClient, CLIENT, Stripe};
use adopting_functions_after::web;
use connectivity_core::{Router, register};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let router = Router::open_or_create("routes.db").await?;
    register!(router, Billing => Stripe)?;
    CLIENT.get_or_init(|| BillingClient::new(&router));
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, web::app()).await?;
    Ok(())
}
