//! The services of the shop: what they promise, and how they keep it.
//!
//! `orders` calls `catalog` and `billing`. Nothing in this file knows in which process they run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connectivity_core::{Error, context, service};
use serde::{Deserialize, Serialize};

use crate::journal::CallBook;
use crate::meter::{Meter, Method};
use crate::signpost::Way;

/// How long an order may take, with everything it calls.
pub(crate) const ORDER_LIMIT: Duration = Duration::from_secs(20);

/// The metadata under which a server notes by which wire a call came.
pub(crate) const CAME_BY: &str = "demo-came-by";

/// Names who gave an answer: the number of a process, and how the call came to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServedBy {
    pub(crate) process: u32,
    pub(crate) way: Way,
}

impl ServedBy {
    /// What a `noop` row answers; no process has the number 0.
    pub(crate) const NOBODY: Self = Self { process: 0, way: Way::Noop };
}

/// An amount of money, and who computed it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Amount {
    pub(crate) cents: u64,
    pub(crate) served_by: ServedBy,
}

impl Amount {
    /// What a `noop` row answers.
    const NOTHING: Self = Self { cents: 0, served_by: ServedBy::NOBODY };
}

/// An order that was placed, and who served each call it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) cents: u64,
    pub(crate) priced_by: ServedBy,
    pub(crate) quoted_by: ServedBy,
    pub(crate) charged_by: ServedBy,
}

impl Placed {
    /// What a `noop` row answers.
    const NOTHING: Self = Self {
        cents: 0,
        priced_by: ServedBy::NOBODY,
        quoted_by: ServedBy::NOBODY,
        charged_by: ServedBy::NOBODY,
    };
}

/// What the services of the shop can answer but a value.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum ShopError {
    /// There is no such item.
    #[error("the shop does not sell {0:?}")]
    NotSold(String),
    /// The call got no answer.
    #[error(transparent)]
    Connectivity(#[from] Error),
}

/// Knows what things cost.
#[service]
pub(crate) trait Catalog {
    /// The price of one item.
    #[readonly]
    #[noop = Amount::NOTHING]
    async fn price(&self, item: &str) -> Result<Amount, ShopError>;
}

/// Takes money.
#[service]
pub(crate) trait Billing {
    /// What a number of items cost, with tax.
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
    /// Asks for the price, lets the customer think about the quote for a while, and charges.
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
    journal: Option<Arc<CallBook>>,
}

/// What the shop sells.
pub(crate) const ITEMS: [(&str, u64); 4] =
    [("tea", 450), ("coffee", 720), ("honey", 990), ("bread", 380)];

impl PriceList {
    /// Makes the price list; with a journal it counts its calls.
    pub(crate) fn new(journal: Option<Arc<CallBook>>) -> Self {
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
    journal: Option<Arc<CallBook>>,
}

impl CashDesk {
    /// Opens the cash desk; with a journal it counts its calls.
    pub(crate) fn new(journal: Option<Arc<CallBook>>) -> Self {
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

/// Notes a call in the journal, if there is one, and says how it came. Where there is none, calls
/// come from this process, and looking would take longer than the call.
fn served_by(process: u32, journal: Option<&CallBook>) -> ServedBy {
    let Some(journal) = journal else { return ServedBy { process, way: Way::Local } };
    journal.note();
    let way = context::current().meta(CAME_BY).and_then(Way::of_word);
    ServedBy { process, way: way.unwrap_or(Way::Local) }
}

/// Takes orders, and measures every call they take.
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
        let lane = meter.lane(customer);
        let price = lane.call(Method::Price, catalog.price(item)).await?;
        let quote = lane.call(Method::Quote, billing.quote(price.cents, quantity)).await?;
        if think_ms > 0 {
            tokio::time::sleep(Duration::from_millis(think_ms)).await;
        }
        let charge = lane.call(Method::Charge, billing.charge(customer, quote.cents)).await?;
        Ok(Placed {
            cents: charge.cents,
            priced_by: price.served_by,
            quoted_by: quote.served_by,
            charged_by: charge.served_by,
        })
    }
}
