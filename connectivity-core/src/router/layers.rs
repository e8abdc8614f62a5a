//! The layers of a router: for all calls, or for those of one service.

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;
use tower_service::Service;

use crate::call::{Call, CallService, Reply};
use crate::error::Error;

/// A tower layer with its type erased.
#[derive(Clone)]
struct ErasedLayer(Arc<dyn Fn(CallService) -> CallService + Send + Sync>);

/// Layers in the order they were added: the first is outermost.
#[derive(Clone, Default)]
pub(crate) struct Layers(Vec<(Option<String>, ErasedLayer)>);

impl Layers {
    /// Adds a layer for the calls of one service, or of all.
    pub(crate) fn push<L>(&mut self, service: Option<String>, layer: L)
    where
        L: Layer<CallService> + Send + Sync + 'static,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send> + Clone + Send + Sync + 'static,
    {
        self.0.push((service, ErasedLayer(Arc::new(move |inner| CallService::new(layer.layer(inner))))));
    }

    /// Says whether any layer sees the calls of `name`, a service or one of its methods.
    pub(crate) fn any(&self, name: &str) -> bool {
        self.0.iter().any(|(service, _)| concerns(service.as_deref(), name))
    }

    /// Puts the layers for `name` around a service.
    pub(crate) fn wrap(&self, name: &str, inner: CallService) -> CallService {
        let layers = self.0.iter().rev().filter(|(service, _)| concerns(service.as_deref(), name));
        layers.fold(inner, |inner, (_, layer)| (layer.0)(inner))
    }
}

fn concerns(service: Option<&str>, name: &str) -> bool {
    service
        .is_none_or(|service| name.strip_prefix(service).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(service, _)| service.as_deref().unwrap_or("*"))).finish()
    }
}
