//! Checking out: uses billing through the trait.

use crate::billing::{BillingError, DynBilling, Receipt};

#[derive(Debug, Clone)]
pub struct Checkout {
    billing: DynBilling,
}

impl Checkout {
    #[must_use]
    pub fn new(billing: DynBilling) -> Self {
        Self { billing }
    }

    /// Charges an order with its shipping.
    ///
    /// # Errors
    /// Returns the errors of billing.
    pub async fn pay(
        &self,
        order: &str,
        cents: u64,
        country: &str,
    ) -> Result<Receipt, BillingError> {
        let shipping = self.billing.shipping(country).await?;
        self.billing.charge(order, cents + shipping).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mockall::predicate::eq;

    use super::*;
    use crate::billing::MockBilling;

    #[tokio::test]
    async fn shipping_is_charged_too() {
        let mut billing = MockBilling::new();
        billing.expect_shipping().with(eq("NL")).returning(|_| Ok(500));
        billing
            .expect_charge()
            .with(eq("17"), eq(4_700))
            .returning(|order, cents| Ok(Receipt { order: order.to_owned(), cents, process: 0 }));
        let receipt = Checkout::new(Arc::new(billing)).pay("17", 4_200, "NL").await;
        assert_eq!(receipt.map(|receipt| receipt.cents), Ok(4_700));
    }

    #[tokio::test]
    async fn a_declined_card_is_told() {
        let mut billing = MockBilling::new();
        billing.expect_shipping().returning(|_| Ok(0));
        billing.expect_charge().returning(|_, _| Err(BillingError::Declined));
        let receipt = Checkout::new(Arc::new(billing)).pay("17", 4_200, "NL").await;
        assert_eq!(receipt, Err(BillingError::Declined));
    }
}
