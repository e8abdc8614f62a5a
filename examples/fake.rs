//! How do I test code that calls a service? With a handwritten fake: no router, no rows, no
//! sockets.
//!
//! ```text
//! cargo test --example fake
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Mutex;

use shop_contracts::{Billing, BillingClient, BillingError, Receipt};

/// The code under test. It accepts anything that implements the contract: a client, an
/// implementation, a fake.
async fn checkout(
    billing: &impl Billing,
    order: &str,
    cents: u64,
    budget: u64,
) -> Result<Option<Receipt>, BillingError> {
    let price = billing.quote(cents).await?;
    if price > budget {
        return Ok(None);
    }
    billing.charge(order, price).await.map(Some)
}

/// Code that owns its client. A field of this type needs no generics.
struct Shop {
    billing: BillingClient,
}

impl Shop {
    async fn sell(&self, order: &str) -> Result<u64, BillingError> {
        self.billing.charge(order, 100).await.map(|receipt| receipt.cents)
    }
}

/// Implements the contract in memory and records who was charged.
#[derive(Debug, Default)]
struct FakeBilling {
    charged: Mutex<Vec<String>>,
}

impl Billing for FakeBilling {
    async fn quote(&self, cents: u64) -> Result<u64, BillingError> {
        Ok(cents * 2)
    }

    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError> {
        if order.is_empty() {
            return Err(BillingError::Declined);
        }
        self.charged.lock().expect("nobody panics while charging").push(order.to_owned());
        Ok(Receipt { order: order.to_owned(), cents, served_by: 0 })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let fake = FakeBilling::default();
    let bought = checkout(&fake, "order-17", 100, 500).await?;
    println!("{bought:?}");

    // A client that calls only the fake, for code with a field of type `BillingClient`.
    let shop = Shop { billing: BillingClient::direct(FakeBilling::default()) };
    println!("sold for {}", shop.sell("order-18").await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_too_expensive_is_not_charged() {
        let fake = FakeBilling::default();
        assert_eq!(checkout(&fake, "order-17", 100, 199).await, Ok(None));
        assert!(fake.charged.into_inner().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_fits_the_budget_is_charged_once() {
        let fake = FakeBilling::default();
        let receipt = checkout(&fake, "order-17", 100, 200).await.unwrap().unwrap();
        assert_eq!(receipt.cents, 200);
        assert_eq!(fake.charged.into_inner().unwrap(), ["order-17"]);
    }

    #[tokio::test]
    async fn code_that_owns_a_client_gets_one_that_calls_the_fake() {
        let shop = Shop { billing: BillingClient::direct(FakeBilling::default()) };
        assert_eq!(shop.sell("order-17").await, Ok(100));
        assert_eq!(shop.sell("").await, Err(BillingError::Declined));
    }

    #[test]
    fn runs_to_its_end() -> Result<(), Box<dyn Error>> {
        main()
    }
}
