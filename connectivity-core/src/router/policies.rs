//! The policies of a row: retries and a circuit breaker. Their state outlives the route they were
//! created for.

use tower_layer::Layer;

use crate::call::CallService;
use crate::layer::breaker::{BreakerState, CircuitBreaker};
use crate::layer::{BreakerLayer, RetryBudget, RetryLayer};
use crate::routes::RouteConfig;

/// The policies of a remote route.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    retry: Option<(RetryLayer, RetryBudget)>,
    breaker: Option<CircuitBreaker>,
}

impl Policies {
    /// Creates the policies of a row and takes over the state of the previous ones: an open circuit
    /// stays open and a spent retry budget stays spent, whatever the new settings are.
    pub(crate) fn of(config: &RouteConfig, previous: Option<&Self>) -> Self {
        let retry = Some(config.retry).filter(|retry| retry.max > 0).map(|retry| {
            let spent = previous.and_then(|old| old.retry.as_ref()).map(|(_, budget)| budget);
            let budget = spent.cloned().unwrap_or_default();
            (RetryLayer::from(retry).budget(budget.clone()), budget)
        });
        let breaker = config.breaker.map(|settings| {
            let breaker = previous.and_then(|old| old.breaker.clone()).unwrap_or_default();
            breaker.retune(settings);
            breaker
        });
        Self { retry, breaker }
    }

    /// Wraps the service of a transport in the policies; returns it as it is if the row asks for
    /// none.
    pub(crate) fn wrap(&self, inner: &CallService) -> CallService {
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
