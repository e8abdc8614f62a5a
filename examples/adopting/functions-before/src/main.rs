//! Serves the shop until Ctrl-C. The address is the first argument.

use std::error::Error;

use adopting_functions_before::web;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, web::app()).await?;
    Ok(())
}
