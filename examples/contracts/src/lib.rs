//! The code that the two programs of the example shop share: traits, types and errors. Nothing here
//! serves or calls them.
//!
//! A contracts crate needs neither SQLite nor a transport: `cargo tree -p shop-contracts -e normal`
//! shows how little it depends on. `split-server.rs` implements the trait, `split-client.rs` calls
//! it.

use connectivity_core::{Error, service};
use serde::{Deserialize, Serialize};

/// The receipt for a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The order that was paid.
    pub order: String,
    /// The amount.
    pub cents: u64,
    /// The process that took the payment.
    pub served_by: u32,
}

/// The errors of billing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BillingError {
    /// The bank refused.
    #[error("the card was declined")]
    Declined,
    /// The call got no answer: every call can fail once its service has moved.
    #[error(transparent)]
    Connectivity(#[from] Error),
}

/// Takes payments.
#[service]
pub trait Billing {
    /// Returns the price of an order with tax.
    #[readonly]
    async fn quote(&self, cents: u64) -> Result<u64, BillingError>;
    /// Charges an order.
    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError>;
}
