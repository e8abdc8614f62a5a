//! The services of the shop: their contracts and implementations.
//!
//! `orders` calls `catalog` and `billing`. Nothing in this file depends on the process in which
//! they run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connectivity_core::{Error, context, service};
use serde::{Deserialize, Serialize};

use crate::journal::JournalFile;
use crate::meter::{Meter, Method};
use crate::strategy::Strategy;

/// Deadline of an order, including everything that it calls.
pub(crate) const ORDER_LIMIT: Duration = Duration::from_secs(20);

/// The metadata key under which a server records by which strategy a call arrived.
pub(crate) const STRATEGY_META: &str = "demo-came-by";

/// The origin of a reply: a process id, and the strategy by which the call arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServedBy {
    pub(crate) process: u32,
    #[serde(rename = "way")]
    pub(crate) strategy: Strategy,
}

impl ServedBy {
    /// The origin of a `noop` reply. No process has the id 0.
    pub(crate) const NOBODY: Self = Self { process: 0, strategy: Strategy::Noop };
}

/// An amount of money and its origin.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Amount {
    pub(crate) cents: u64,
    pub(crate) served_by: ServedBy,
}

impl Amount {
    /// The reply of a `noop` row.
    const NOTHING: Self = Self { cents: 0, served_by: ServedBy::NOBODY };
}

/// A placed order, with the origin of each reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) cents: u64,
    pub(crate) priced_by: ServedBy,
    pub(crate) quoted_by: ServedBy,
    pub(crate) charged_by: ServedBy,
}

impl Placed {
    /// The reply of a `noop` row.
    const NOTHING: Self = Self {
        cents: 0,
        priced_by: ServedBy::NOBODY,
        quoted_by: ServedBy::NOBODY,
        charged_by: ServedBy::NOBODY,
    };
}

/// The errors of the shop's services.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum ShopError {
    /// There is no such item.
    #[error("the shop does not sell {0:?}")]
    NotSold(String),
    /// The call got no answer.
    #[error(transparent)]
    Connectivity(#[from] Error),
}

/// Knows prices.
#[service]
pub(crate) trait Catalog {
    /// Returns the price of one item.
    #[readonly]
    #[noop = Amount::NOTHING]
    async fn price(&self, item: &str) -> Result<Amount, ShopError>;
}

/// Takes payments.
#[service]
pub(crate) trait Billing {
    /// Returns the price of a number of items, with tax.
    #[readonly]
    #[noop = Amount::NOTHING]
    async fn quote(&self, cents: u64, quantity: u32) -> Result<Amount, ShopError>;
    /// Charges a customer.
    #[noop = Amount::NOTHING]
    async fn charge(&self, customer: u32, cents: u64) -> Result<Amount, ShopError>;
}

/// Takes orders.
#[service]
pub(crate) trait Orders {
    /// Asks for the price, waits while the customer thinks about the quote, and charges.
    #[noop = Placed::NOTHING]
    async fn place(
        &self,
        customer: u32,
        item: &str,
        quantity: u32,
        think_ms: u64,
    ) -> Result<Placed, ShopError>;
}

/// The price list.
#[derive(Debug)]
pub(crate) struct PriceList {
    prices: BTreeMap<&'static str, u64>,
    process: u32,
    journal: Option<Arc<JournalFile>>,
}

/// The items of the shop and their prices.
pub(crate) const ITEMS: [(&str, u64); 4] =
    [("tea", 450), ("coffee", 720), ("honey", 990), ("bread", 380)];

impl PriceList {
    /// Creates the price list. With a journal it counts its calls.
    pub(crate) fn new(journal: Option<Arc<JournalFile>>) -> Self {
        Self { prices: BTreeMap::from(ITEMS), process: std::process::id(), journal }
    }
}

impl Catalog for PriceList {
    async fn price(&self, item: &str) -> Result<Amount, ShopError> {
        let served_by = served_by(self.process, self.journal.as_deref());
        let cents = *self.prices.get(item).ok_or_else(|| ShopError::NotSold(item.to_owned()))?;
        Ok(Amount { cents, served_by })
    }
}

/// The cash desk.
#[derive(Debug)]
pub(crate) struct CashDesk {
    process: u32,
    journal: Option<Arc<JournalFile>>,
}

impl CashDesk {
    /// Creates the cash desk. With a journal it counts its calls.
    pub(crate) fn new(journal: Option<Arc<JournalFile>>) -> Self {
        Self { process: std::process::id(), journal }
    }
}

impl Billing for CashDesk {
    async fn quote(&self, cents: u64, quantity: u32) -> Result<Amount, ShopError> {
        let served_by = served_by(self.process, self.journal.as_deref());
        let cents = cents.saturating_mul(quantity.into());
        Ok(Amount { cents: cents.saturating_add(cents / 5), served_by })
    }

    async fn charge(&self, _customer: u32, cents: u64) -> Result<Amount, ShopError> {
        Ok(Amount { cents, served_by: served_by(self.process, self.journal.as_deref()) })
    }
}

/// Records a call in the journal, if there is one, and returns its origin. Without a journal all
/// calls come from this process, and reading the context would take longer than the call.
fn served_by(process: u32, journal: Option<&JournalFile>) -> ServedBy {
    let Some(journal) = journal else { return ServedBy { process, strategy: Strategy::Local } };
    journal.note();
    let strategy = context::current().meta(STRATEGY_META).and_then(Strategy::parse);
    ServedBy { process, strategy: strategy.unwrap_or(Strategy::Local) }
}

/// Takes orders and measures every call of an order.
#[derive(Debug)]
pub(crate) struct OrderDesk {
    pub(crate) catalog: CatalogClient,
    pub(crate) billing: BillingClient,
    pub(crate) meter: Arc<Meter>,
}

impl Orders for OrderDesk {
    async fn place(
        &self,
        customer: u32,
        item: &str,
        quantity: u32,
        think_ms: u64,
    ) -> Result<Placed, ShopError> {
        let Self { catalog, billing, meter } = self;
        let shard = meter.shard(customer);
        let price = shard.call(Method::Price, catalog.price(item)).await?;
        let quote = shard.call(Method::Quote, billing.quote(price.cents, quantity)).await?;
        if think_ms > 0 {
            tokio::time::sleep(Duration::from_millis(think_ms)).await;
        }
        let charge = shard.call(Method::Charge, billing.charge(customer, quote.cents)).await?;
        Ok(Placed {
            cents: charge.cents,
            priced_by: price.served_by,
            quoted_by: quote.served_by,
            charged_by: charge.served_by,
        })
    }
}
