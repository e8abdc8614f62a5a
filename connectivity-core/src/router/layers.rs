//! The tower layers of a router: for all calls, or for the calls of one service.

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;
use tower_service::Service;

use crate::call::{BoxFuture, Call, CallService, Erased, Reply, RouteTag};
use crate::error::Error;

/// A tower layer with its type erased.
#[derive(Clone)]
struct ErasedLayer(Arc<dyn Fn(CallService) -> CallService + Send + Sync>);

/// Layers in the order they were added. The first is outermost.
#[derive(Clone, Default)]
pub(crate) struct Layers(Vec<(Option<String>, ErasedLayer)>);

impl Layers {
    /// Adds a layer for the calls of one service, or of all services.
    pub(crate) fn push<L>(&mut self, service: Option<String>, layer: L)
    where
        L: Layer<CallService> + Send + Sync + 'static,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.0.push((
            service,
            ErasedLayer(Arc::new(move |inner| CallService::new(layer.layer(inner)))),
        ));
    }

    /// Returns whether any layer applies to the calls of `name`, a service or one of its methods.
    pub(crate) fn any(&self, name: &str) -> bool {
        self.0.iter().any(|(service, _)| concerns(service.as_deref(), name))
    }

    /// Wraps a service in the layers for the name of a route, and tags each call with the route.
    pub(crate) fn wrap(&self, tag: RouteTag, inner: CallService) -> CallService {
        let layers = self
            .0
            .iter()
            .rev()
            .filter(|(service, _)| concerns(service.as_deref(), tag.name().as_str()));
        let inner = layers.fold(inner, |inner, (_, layer)| (layer.0)(inner));
        CallService::shared(Arc::new(Tagged { tag: Arc::new(tag), inner }))
    }
}

/// Tags each call with its route, for the layers inside.
struct Tagged {
    tag: Arc<RouteTag>,
    inner: CallService,
}

impl Erased for Tagged {
    fn call(self: Arc<Self>, mut call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        call.set_route(Arc::clone(&self.tag));
        self.inner.send(call)
    }
}

fn concerns(service: Option<&str>, name: &str) -> bool {
    service.is_none_or(|service| {
        name.strip_prefix(service).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(service, _)| service.as_deref().unwrap_or("*")))
            .finish()
    }
}
