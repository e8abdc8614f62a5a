//! What a row asks for beside limits: retries and a circuit breaker. Their state outlives the
//! target they were made for.

use tower_layer::Layer;

use crate::call::CallService;
use crate::layer::breaker::{BreakerState, CircuitBreaker, Settings};
use crate::layer::{BreakerLayer, RetryBudget, RetryLayer};
use crate::routes::{Breaker, Retry, RouteConfig};

/// The policies of a remote route.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    retry: Option<(RetryLayer, RetryBudget)>,
    breaker: Option<CircuitBreaker>,
}

impl Policies {
    /// Reads what a row asks for, and goes on with what older policies have learnt: an open circuit
    /// stays open, a spent budget spent, whatever the new numbers are.
    pub(crate) fn of(config: &RouteConfig, learnt: Option<&Self>) -> Self {
        let retry = Some(config.retry()).filter(|retry| retry.max > 0).map(|retry| {
            let budget =
                learnt.and_then(|old| old.retry.as_ref()).map(|(_, budget)| budget.clone());
            retrying(retry, budget.unwrap_or_default())
        });
        let breaker = config.breaker().map(|breaker| {
            let kept = learnt.and_then(|old| old.breaker.clone()).unwrap_or_default();
            kept.retune(settings(&breaker));
            kept
        });
        Self { retry, breaker }
    }

    /// Puts them around a transport; it is left as it is where the row asks for none.
    pub(crate) fn around(&self, inner: &CallService) -> CallService {
        let inner = inner.clone();
        let retry = self.retry.as_ref().map(|(layer, _)| layer);
        match (retry, self.breaker.clone().map(BreakerLayer::new)) {
            (None, None) => inner,
            (Some(retry), None) => CallService::new(retry.layer(inner)),
            (None, Some(breaker)) => CallService::new(breaker.layer(inner)),
            (Some(retry), Some(breaker)) => CallService::new(retry.layer(breaker.layer(inner))),
        }
    }

    pub(crate) fn breaker(&self) -> Option<BreakerState> {
        self.breaker.as_ref().map(CircuitBreaker::state)
    }
}

fn retrying(retry: &Retry, budget: RetryBudget) -> (RetryLayer, RetryBudget) {
    (RetryLayer::new(retry.max).backoff(retry.backoff).budget(budget.clone()), budget)
}

fn settings(breaker: &Breaker) -> Settings {
    Settings { failures: breaker.failures, reset: breaker.reset, probes: breaker.probes }
}
