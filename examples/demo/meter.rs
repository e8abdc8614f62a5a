//! Measures and checks every call, without getting in its way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use connectivity_core::Sent;
use hdrhistogram::Histogram;

use crate::outage::Span;
use crate::shop::{Amount, ServedBy, ShopError};
use crate::signpost::Way;
use crate::world::World;

/// The methods that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Price,
    Quote,
    Charge,
}

impl Method {
    pub(crate) const ALL: [Self; 3] = [Self::Price, Self::Quote, Self::Charge];

    /// The names of a method's rows, the most specific first.
    pub(crate) fn rows(self) -> [&'static str; 2] {
        match self {
            Self::Price => ["catalog.price", "catalog"],
            Self::Quote => ["billing.quote", "billing"],
            Self::Charge => ["billing.charge", "billing"],
        }
    }

    /// Says whether the contract allows to run a call again whose answer was lost.
    pub(crate) fn may_be_repeated(self) -> bool {
        matches!(self, Self::Price | Self::Quote)
    }
}

/// Lanes are shared by few customers, so that their locks are free nearly always.
const LANES: usize = 32;

/// The texts of this many failures are kept.
const FAILURES: usize = 5;

/// Measures the calls of all customers.
#[derive(Debug)]
pub(crate) struct Meter {
    lanes: Vec<Lane>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Meter {
    /// Makes a meter that checks calls against the signposts of the world.
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let (clock, failures) = (clock_cost(), Arc::default());
        let lane = || Lane {
            tally: Mutex::default(),
            world: Arc::clone(world),
            clock,
            failures: Arc::clone(&failures),
        };
        Self { lanes: (0..LANES).map(|_| lane()).collect(), failures }
    }

    /// The lane of a customer.
    pub(crate) fn lane(&self, customer: u32) -> &Lane {
        &self.lanes[customer as usize % LANES]
    }

    /// Takes what was measured since it was taken last.
    pub(crate) fn take(&self) -> Tally {
        let mut sum = Tally::default();
        for lane in &self.lanes {
            let fresh = Tally::default();
            let taken = std::mem::replace(&mut *lane.tally(), fresh);
            sum.add(&taken);
        }
        sum
    }

    /// The texts of the first failures.
    pub(crate) fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }
}

/// Measures the calls of a few customers.
#[derive(Debug)]
pub(crate) struct Lane {
    tally: Mutex<Tally>,
    world: Arc<World>,
    clock: Duration,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Lane {
    /// Measures one call, and checks that it went where it had to go.
    pub(crate) async fn call(
        &self,
        method: Method,
        call: impl Future<Output = Result<Amount, ShopError>>,
    ) -> Result<Amount, ShopError> {
        let before = self.world.signposts.read(method);
        let start = Instant::now();
        let answer = call.await;
        let span = Span { start, end: Instant::now() };
        let after = self.world.signposts.read(method);
        let expected = before.way().filter(|_| before == after);
        match &answer {
            Ok(amount) => self.answered(method, amount.served_by, expected, span),
            Err(error) => self.not_answered(method, error, expected, span),
        }
        answer
    }

    fn answered(&self, method: Method, served_by: ServedBy, expected: Option<Way>, span: Span) {
        let way = self.world.way(served_by);
        let was_carried_over =
            self.world.outage.was_in_flight(span.start) && served_by.process == self.world.there();
        let mut tally = self.tally();
        tally.checked += u64::from(expected.is_some());
        // An answer of a stranger is wrong at any time.
        tally.misrouted +=
            u64::from(way.is_none() || expected.is_some_and(|expected| way != Some(expected)));
        tally.carried_over += u64::from(was_carried_over && method.may_be_repeated());
        if let Some(way) = way {
            tally.record(
                method,
                way,
                span.end.duration_since(span.start).saturating_sub(self.clock),
            );
        }
    }

    /// Counts a call that got no answer: interrupted, if the kill of the second process explains
    /// it, else failed.
    fn not_answered(&self, method: Method, error: &ShopError, expected: Option<Way>, span: Span) {
        match error {
            ShopError::Connectivity(error)
                if expected.is_none_or(Way::is_far)
                    && self.world.outage.explains(method, span, error) =>
            {
                let mut tally = self.tally();
                tally.interrupted += 1;
                tally.may_have_run += u64::from(error.sent() != Sent::No);
            }
            _ => self.failed(Some(method), error),
        }
    }

    /// Counts an order that was placed.
    pub(crate) fn placed(&self) {
        self.tally().orders += 1;
    }

    /// Counts an order that failed. One that failed because of a call was counted at the call.
    pub(crate) fn not_placed(&self, error: &ShopError) {
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

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// In nanoseconds, by method and way; made when first needed, because most lanes need few of
    /// them.
    times: [[Option<Histogram<u64>>; Way::ALL.len()]; Method::ALL.len()],
    /// By method; the last are orders.
    failed: [u64; Method::ALL.len() + 1],
    pub(crate) orders: u64,
    /// Calls during which no flip took place, so that it is certain where they had to go.
    pub(crate) checked: u64,
    pub(crate) misrouted: u64,
    /// Calls whose error is explained by the kill of the second process.
    pub(crate) interrupted: u64,
    /// Those of them that the killed process may have run.
    pub(crate) may_have_run: u64,
    /// Calls that began before the kill and were answered by the restarted process, of methods that
    /// may be repeated.
    pub(crate) carried_over: u64,
}

impl Tally {
    fn record(&mut self, method: Method, way: Way, took: Duration) {
        self.times[method as usize][way as usize]
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

    /// The times of one method's calls that went one way.
    pub(crate) fn times(&self, method: Method, way: Way) -> Option<&Histogram<u64>> {
        self.times[method as usize][way as usize].as_ref()
    }

    /// The times of all calls that went one way.
    pub(crate) fn times_by_way(&self, way: Way) -> Histogram<u64> {
        let mut sum = None;
        Method::ALL.iter().for_each(|&method| add(&mut sum, self.times(method, way)));
        sum.unwrap_or_else(histogram)
    }

    /// How many calls of one method were answered.
    pub(crate) fn answered(&self, method: Method) -> u64 {
        Way::ALL.iter().filter_map(|&way| self.times(method, way)).map(Histogram::len).sum()
    }

    /// How many calls of one method got no answer.
    pub(crate) fn failed(&self, method: Method) -> u64 {
        self.failed[method as usize]
    }

    /// How many calls got no answer, those of orders included.
    pub(crate) fn all_failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// How many calls there were, those of orders not included.
    pub(crate) fn calls(&self) -> u64 {
        let ended = Method::ALL.iter().map(|&method| self.answered(method) + self.failed(method));
        ended.sum::<u64>() + self.interrupted
    }
}

fn add(sum: &mut Option<Histogram<u64>>, more: Option<&Histogram<u64>>) {
    if let Some(more) = more {
        // All histograms have the same bounds, so that adding cannot fail.
        let _ = sum.get_or_insert_with(histogram).add(more);
    }
}

/// From 1 ns to a minute, to two significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("the bounds are constants that fit")
}

/// What two looks at the clock cost: a local call takes little longer, so this is taken off what
/// was measured.
fn clock_cost() -> Duration {
    let mut costs: Vec<_> = (0..10_000).map(|_| Instant::now().elapsed()).collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: ServedBy = ServedBy { process: 1, way: Way::Local };
    const HTTP: ServedBy = ServedBy { process: 2, way: Way::Http };
    const QUIC: ServedBy = ServedBy { process: 2, way: Way::Quic };

    async fn check(expected: Option<Way>, served_by: ServedBy) -> Tally {
        let world = Arc::new(World::new(1));
        world.arrived(2);
        if let Some(way) = expected {
            world.signposts.put_up(Method::Charge, way);
        }
        let meter = Meter::new(&world);
        let answer = async { Ok(Amount { cents: 1, served_by }) };
        meter.lane(7).call(Method::Charge, answer).await.unwrap();
        meter.take()
    }

    #[tokio::test]
    async fn an_answer_from_elsewhere_is_misrouted() {
        for (expected, served_by, misrouted) in [
            (Some(Way::Local), LOCAL, 0),
            (Some(Way::Http), HTTP, 0),
            (Some(Way::Noop), ServedBy::NOBODY, 0),
            (Some(Way::Local), HTTP, 1),
            (Some(Way::Http), QUIC, 1),
            (Some(Way::Http), ServedBy::NOBODY, 1),
            (Some(Way::Noop), LOCAL, 1),
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
        assert_eq!(sum.times_by_way(Way::Http).len(), 1);
    }
}
