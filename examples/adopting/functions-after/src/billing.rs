//! Billing: functions that the rest of the application calls, wherever billing is.

use std::sync::OnceLock;

use connectivity_core::{Error, service};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub order: String,
    pub cents: u64,
    /// The process that took the money.
    pub process: u32,
}

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum BillingError {
    #[error("the card was declined")]
    Declined,
    #[error(transparent)]
    Connectivity(#[from] Error),
}

#[service]
pub trait Billing {
    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError>;
    async fn shipping(&self, country: &str) -> Result<u64, BillingError>;
}

/// The client that the functions call. `main` sets it; without it they call `Stripe` itself.
pub static CLIENT: OnceLock<BillingClient> = OnceLock::new();

fn client() -> &'static BillingClient {
    CLIENT.get_or_init(|| BillingClient::direct(Stripe))
}

/// Charges an order.
///
/// # Errors
/// The card can be declined.
pub async fn charge(order: &str, cents: u64) -> Result<Receipt, BillingError> {
    client().charge(order, cents).await
}

/// Returns the price of shipping.
///
/// # Errors
/// None today.
pub async fn shipping(country: &str) -> Result<u64, BillingError> {
    client().shipping(country).await
}

#[derive(Debug)]
pub struct Stripe;

impl Billing for Stripe {
    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError> {
        match cents {
            0..100_000 => {
                Ok(Receipt { order: order.to_owned(), cents, process: std::process::id() })
            }
            _ => Err(BillingError::Declined),
        }
    }

    async fn shipping(&self, country: &str) -> Result<u64, BillingError> {
        Ok(if country == "NL" { 500 } else { 1_500 })
    }
}
