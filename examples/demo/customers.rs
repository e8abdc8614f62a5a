//! The load: customers with think time, and wholesalers without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::meter::Meter;
use crate::shop::{ITEMS, OrdersClient};

/// Number of customers. Each always has an order in flight, and spends most of its time thinking
/// about a quote.
pub(crate) const CUSTOMERS: u32 = 256;

/// Number of wholesalers, who order without a pause. They are few, so that the measured time is
/// that of a call and not of a queue in front of it.
pub(crate) const WHOLESALERS: u32 = 4;

/// The pause of a customer after a failed order.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The tasks of all customers and wholesalers.
#[derive(Debug)]
pub(crate) struct Customers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Customers {
    /// Starts all customers and wholesalers.
    pub(crate) fn start(orders: &OrdersClient, meter: &Arc<Meter>) -> Self {
        let (stop, mut tasks) = (Arc::default(), JoinSet::new());
        for id in 0..CUSTOMERS + WHOLESALERS {
            let customer = Customer { id, orders: orders.clone(), meter: Arc::clone(meter) };
            tasks.spawn(customer.run(Arc::clone(&stop)));
        }
        Self { stop, tasks }
    }

    /// Waits until each of them has finished its current order.
    pub(crate) async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Customer {
    id: u32,
    orders: OrdersClient,
    meter: Arc<Meter>,
}

impl Customer {
    async fn run(self, stop: Arc<AtomicBool>) {
        let mut dice = u64::from(self.id) + 1;
        while !stop.load(Ordering::Relaxed) {
            self.order(roll(&mut dice)).await;
            tokio::task::yield_now().await;
        }
    }

    async fn order(&self, dice: u64) {
        let (item, _) = ITEMS[(dice % 4) as usize];
        let think_ms = if self.id < CUSTOMERS { 50 + dice % 100 } else { 0 };
        let shard = self.meter.shard(self.id);
        match self.orders.place(self.id, item, 1 + (dice % 9) as u32, think_ms).await {
            Ok(_placed) => shard.order_placed(),
            Err(error) => {
                shard.order_failed(&error);
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

/// A xorshift generator, good enough to spread orders.
fn roll(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice
}
