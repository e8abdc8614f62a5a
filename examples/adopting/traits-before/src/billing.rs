//! Billing: the trait that the rest of the application uses, and the implementation.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    pub order: String,
    pub cents: u64,
    /// The process that took the money.
    pub process: u32,
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum BillingError {
    #[error("the card was declined")]
    Declined,
}

#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Billing: Debug + Send + Sync {
    /// Charges an order.
    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError>;

    /// The price of shipping.
    async fn shipping(&self, country: &str) -> Result<u64, BillingError>;
}

pub type DynBilling = Arc<dyn Billing>;

#[derive(Debug, Default)]
pub struct Stripe {}

#[async_trait]
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
