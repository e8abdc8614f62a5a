//! Measures and checks every call with little overhead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use connectivity_core::Sent;
use hdrhistogram::Histogram;

use crate::outage::Span;
use crate::shop::{Amount, ServedBy, ShopError};
use crate::strategy::Strategy;
use crate::world::World;

/// The measured methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Price,
    Quote,
    Charge,
}

impl Method {
    pub(crate) const ALL: [Self; 3] = [Self::Price, Self::Quote, Self::Charge];

    /// Returns the names of a method's rows, the most specific first.
    pub(crate) fn rows(self) -> [&'static str; 2] {
        match self {
            Self::Price => ["catalog.price", "catalog"],
            Self::Quote => ["billing.quote", "billing"],
            Self::Charge => ["billing.charge", "billing"],
        }
    }

    /// Returns whether the contract allows a retry of a call whose reply was lost.
    pub(crate) fn is_retryable(self) -> bool {
        matches!(self, Self::Price | Self::Quote)
    }
}

/// Number of shards. A few customers share one, so that its lock is rarely contended.
const SHARDS: usize = 32;

/// Maximum number of failure texts to keep.
const FAILURES: usize = 5;

/// Measures the calls of all customers.
#[derive(Debug)]
pub(crate) struct Meter {
    shards: Vec<Shard>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Meter {
    /// Creates a meter that checks calls against the expected strategies.
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let (clock, failures) = (clock_cost(), Arc::default());
        let shard = || Shard {
            tally: Mutex::default(),
            world: Arc::clone(world),
            clock,
            failures: Arc::clone(&failures),
        };
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), failures }
    }

    /// Returns the shard of a customer.
    pub(crate) fn shard(&self, customer: u32) -> &Shard {
        &self.shards[customer as usize % SHARDS]
    }

    /// Returns the measurements since the last call of this method.
    pub(crate) fn take(&self) -> Tally {
        let mut sum = Tally::default();
        for shard in &self.shards {
            let fresh = Tally::default();
            let taken = std::mem::replace(&mut *shard.tally(), fresh);
            sum.add(&taken);
        }
        sum
    }

    /// Returns the texts of the first failures.
    pub(crate) fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }
}

/// Measures the calls of a few customers.
#[derive(Debug)]
pub(crate) struct Shard {
    tally: Mutex<Tally>,
    world: Arc<World>,
    clock: Duration,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Shard {
    /// Measures one call, and checks that it was served as its row says.
    pub(crate) async fn call(
        &self,
        method: Method,
        call: impl Future<Output = Result<Amount, ShopError>>,
    ) -> Result<Amount, ShopError> {
        let before = self.world.expected.read(method);
        let start = Instant::now();
        let answer = call.await;
        let span = Span { start, end: Instant::now() };
        let after = self.world.expected.read(method);
        let expected = before.strategy().filter(|_| before == after);
        match &answer {
            Ok(amount) => self.answered(method, amount.served_by, expected, span),
            Err(error) => self.count_unanswered(method, error, expected, span),
        }
        answer
    }

    fn answered(
        &self,
        method: Method,
        served_by: ServedBy,
        expected: Option<Strategy>,
        span: Span,
    ) {
        let strategy = self.world.strategy(served_by);
        let is_carried_over = self.world.outage.was_in_flight(span.start)
            && served_by.process == self.world.second_pid();
        let mut tally = self.tally();
        tally.checked += u64::from(expected.is_some());
        // A reply of an unknown process is always wrong.
        tally.misrouted += u64::from(
            strategy.is_none() || expected.is_some_and(|expected| strategy != Some(expected)),
        );
        tally.carried_over += u64::from(is_carried_over && method.is_retryable());
        if let Some(strategy) = strategy {
            tally.record(
                method,
                strategy,
                span.end.duration_since(span.start).saturating_sub(self.clock),
            );
        }
    }

    /// Counts a call without a reply: as interrupted if the kill of the second process explains it,
    /// as failed otherwise.
    fn count_unanswered(
        &self,
        method: Method,
        error: &ShopError,
        expected: Option<Strategy>,
        span: Span,
    ) {
        match error {
            ShopError::Connectivity(error)
                if expected.is_none_or(Strategy::is_remote)
                    && self.world.outage.explains(method, span, error) =>
            {
                let mut tally = self.tally();
                tally.interrupted += 1;
                tally.may_have_run += u64::from(error.sent() != Sent::No);
            }
            _ => self.failed(Some(method), error),
        }
    }

    /// Counts a placed order.
    pub(crate) fn order_placed(&self) {
        self.tally().orders += 1;
    }

    /// Counts a failed order. An order that failed because of a call was counted with that call.
    pub(crate) fn order_failed(&self, error: &ShopError) {
        if matches!(error, ShopError::Connectivity(error) if error.name().starts_with("orders")) {
            self.failed(None, error);
        }
    }

    fn failed(&self, method: Option<Method>, error: &ShopError) {
        self.tally().failed[method.map_or(Method::ALL.len(), |method| method as usize)] += 1;
        let mut failures = lock(&self.failures);
        if failures.len() < FAILURES {
            failures.push(error.to_string());
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The measurements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Latencies in nanoseconds, by method and strategy. Allocated on first use, because most
    /// shards need few of them.
    times: [[Option<Histogram<u64>>; Strategy::ALL.len()]; Method::ALL.len()],
    /// Failures by method. The last entry counts orders.
    failed: [u64; Method::ALL.len() + 1],
    pub(crate) orders: u64,
    /// Calls during which no flip took place, so that their expected strategy is certain.
    pub(crate) checked: u64,
    pub(crate) misrouted: u64,
    /// Calls whose error is explained by the kill of the second process.
    pub(crate) interrupted: u64,
    /// Interrupted calls that the killed process may have run.
    pub(crate) may_have_run: u64,
    /// Calls of retryable methods that began before the kill and were answered by the restarted
    /// process.
    pub(crate) carried_over: u64,
}

impl Tally {
    fn record(&mut self, method: Method, strategy: Strategy, took: Duration) {
        self.times[method as usize][strategy as usize]
            .get_or_insert_with(histogram)
            .saturating_record((took.as_nanos() as u64).max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.times.iter_mut().flatten().zip(other.times.iter().flatten()) {
            add(ours, theirs.as_ref());
        }
        self.failed.iter_mut().zip(other.failed).for_each(|(ours, theirs)| *ours += theirs);
        self.orders += other.orders;
        self.checked += other.checked;
        self.misrouted += other.misrouted;
        self.interrupted += other.interrupted;
        self.may_have_run += other.may_have_run;
        self.carried_over += other.carried_over;
    }

    /// Returns the latencies of one method's calls by one strategy.
    pub(crate) fn times(&self, method: Method, strategy: Strategy) -> Option<&Histogram<u64>> {
        self.times[method as usize][strategy as usize].as_ref()
    }

    /// Returns the latencies of all calls by one strategy.
    pub(crate) fn times_by_strategy(&self, strategy: Strategy) -> Histogram<u64> {
        let mut sum = None;
        Method::ALL.iter().for_each(|&method| add(&mut sum, self.times(method, strategy)));
        sum.unwrap_or_else(histogram)
    }

    /// Returns how many calls of one method were answered.
    pub(crate) fn answered(&self, method: Method) -> u64 {
        Strategy::ALL
            .iter()
            .filter_map(|&strategy| self.times(method, strategy))
            .map(Histogram::len)
            .sum()
    }

    /// Returns how many calls of one method failed.
    pub(crate) fn failed(&self, method: Method) -> u64 {
        self.failed[method as usize]
    }

    /// Returns how many calls failed, including orders.
    pub(crate) fn all_failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Returns the number of calls, excluding orders.
    pub(crate) fn calls(&self) -> u64 {
        let ended = Method::ALL.iter().map(|&method| self.answered(method) + self.failed(method));
        ended.sum::<u64>() + self.interrupted
    }
}

fn add(sum: &mut Option<Histogram<u64>>, more: Option<&Histogram<u64>>) {
    if let Some(more) = more {
        // All histograms have the same bounds, so adding cannot fail.
        let _ = sum.get_or_insert_with(histogram).add(more);
    }
}

/// Creates a histogram from 1 ns to one minute with two significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("the bounds are constants that fit")
}

/// Returns the cost of two clock reads, which is subtracted from each measurement: a local call
/// takes little longer.
fn clock_cost() -> Duration {
    let mut costs: Vec<_> = (0..10_000).map(|_| Instant::now().elapsed()).collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: ServedBy = ServedBy { process: 1, strategy: Strategy::Local };
    const HTTP: ServedBy = ServedBy { process: 2, strategy: Strategy::Http };
    const QUIC: ServedBy = ServedBy { process: 2, strategy: Strategy::Quic };

    async fn check(expected: Option<Strategy>, served_by: ServedBy) -> Tally {
        let world = Arc::new(World::new(1));
        world.started(2);
        if let Some(strategy) = expected {
            world.expected.set(Method::Charge, strategy);
        }
        let meter = Meter::new(&world);
        let answer = async { Ok(Amount { cents: 1, served_by }) };
        meter.shard(7).call(Method::Charge, answer).await.unwrap();
        meter.take()
    }

    #[tokio::test]
    async fn an_answer_from_elsewhere_is_misrouted() {
        for (expected, served_by, misrouted) in [
            (Some(Strategy::Local), LOCAL, 0),
            (Some(Strategy::Http), HTTP, 0),
            (Some(Strategy::Noop), ServedBy::NOBODY, 0),
            (Some(Strategy::Local), HTTP, 1),
            (Some(Strategy::Http), QUIC, 1),
            (Some(Strategy::Http), ServedBy::NOBODY, 1),
            (Some(Strategy::Noop), LOCAL, 1),
            (None, LOCAL, 0),
            (None, ServedBy { process: 3, ..HTTP }, 1),
            (None, ServedBy { process: 2, ..LOCAL }, 1),
        ] {
            let tally = check(expected, served_by).await;
            let checked = u64::from(expected.is_some());
            assert_eq!(
                (tally.misrouted, tally.checked),
                (misrouted, checked),
                "{expected:?} {served_by:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_was_taken_is_not_taken_again_and_sums_up() {
        let mut sum = check(None, LOCAL).await;
        sum.add(&check(None, HTTP).await);
        assert_eq!((sum.calls(), sum.answered(Method::Charge), sum.all_failed()), (2, 2, 0));
        assert_eq!(sum.times_by_strategy(Strategy::Http).len(), 1);
    }
}
