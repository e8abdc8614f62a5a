//! How do I switch a service off and on again while the program runs?
//!
//! ```text
//! cargo run --example noop-switch
//! ```
//!
//! Strategy `noop` replies without running anything. The method determines the reply: nothing, if
//! it returns nothing; the value of `#[noop = ..]`; otherwise an error, because an invented value
//! would be worse.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use connectivity_core::{ErrorKind, Router, register, service};
use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum MailError {
    #[error(transparent)]
    Connectivity(#[from] connectivity_core::Error),
}

#[service]
trait Mail {
    /// Sends a receipt.
    async fn send(&self, to: &str) -> Result<(), MailError>;
    /// Returns how many mails wait to be sent.
    #[noop = 0]
    async fn waiting(&self) -> Result<u64, MailError>;
    /// Returns the text of a receipt.
    async fn preview(&self, order: &str) -> Result<String, MailError>;
}

/// Sends mails through the post office.
struct PostOffice;

impl Mail for PostOffice {
    async fn send(&self, to: &str) -> Result<(), MailError> {
        println!("  the post office sends a mail to {to}");
        Ok(())
    }

    async fn waiting(&self) -> Result<u64, MailError> {
        Ok(3)
    }

    async fn preview(&self, order: &str) -> Result<String, MailError> {
        Ok(format!("Thank you for {order}"))
    }
}

/// Calls each method once.
async fn calls(router: &Router, mail: &MailClient) -> Result<(), Box<dyn Error>> {
    mail.send("ada@example.com").await?;
    println!("  send: no error");
    println!("  waiting: {}", mail.waiting().await?);
    match mail.preview("order-17").await {
        Ok(text) => println!("  preview: {text}"),
        Err(MailError::Connectivity(error)) if error.kind() == ErrorKind::Noop => {
            println!("  preview: switched off")
        }
        Err(error) => return Err(error.into()),
    }
    let image = router.call("thumbnail", "a picture").await?;
    println!("  thumbnail: {} bytes", image.len());
    Ok(())
}

/// Changes the strategy of both rows, as an operator would in the SQLite shell.
fn set_strategy(routes: &Path, strategy: &str) -> Result<(), Box<dyn Error>> {
    let sql = "UPDATE routes SET strategy = ?1 WHERE service_name IN ('mail', 'thumbnail')";
    let changed = rusqlite::Connection::open(routes)?.execute(sql, [strategy])?;
    (changed == 2).then_some(()).ok_or_else(|| format!("{changed} rows were changed").into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let routes = folder.path().join("routes.db");
    let router = Router::open_or_create(&routes).await?;
    register!(router, Mail => PostOffice)?;
    // A raw service, like the original's handlers: bytes in, bytes out.
    router.register_raw("thumbnail", async |image: bytes::Bytes| Ok(image.slice(..5)))?;
    let mail = MailClient::new(&router);

    println!("local");
    calls(&router, &mail).await?;
    for strategy in ["noop", "local"] {
        set_strategy(&routes, strategy)?;
        // Waits until the change is in force. The router notices it by itself too, within a
        // millisecond or so.
        router.reload().await?;
        println!("{strategy}");
        calls(&router, &mail).await?;
    }
    router.close(Duration::from_secs(1)).await;
    Ok(())
}
