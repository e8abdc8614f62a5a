//! The implementations of a router that inbound calls may reach.

use std::sync::Arc;

use crate::call::{BoxFuture, Call, Erased, MethodDesc, Reply};
use crate::error::{Error, ErrorKind};
use crate::router::active_route::Destination;
use crate::router::core::Core;
use crate::router::drain::closed;
use crate::router::local::Local;
use crate::router::table::{ServiceEntry, Table};
#[cfg(feature = "mcp")]
use crate::transport::Listed;
use crate::transport::{ExposedServices, Exposure};

/// The services of a router that are exposed.
pub(crate) struct Exposed {
    core: Arc<Core>,
    exposure: Exposure,
}

impl Exposed {
    pub(crate) fn new(core: Arc<Core>, exposure: Exposure) -> Self {
        Self { core, exposure }
    }

    /// Dispatches an inbound call to its implementation and counts it against its row.
    fn dispatch(&self, call: Call) -> Result<BoxFuture<'static, Result<Reply, Error>>, Error> {
        let table = self.core.table_guard();
        if table.closed {
            return Err(closed(call.name()));
        }
        let (service, local) = self.find(&table, call.name())?;
        let mut call = match local.find(call.name())? {
            Some(method) => call.with_method(method),
            None => call,
        };
        let active = table.entry(call.name()).and_then(|entry| entry.active.as_ref());
        if let Some(active) =
            active.filter(|active| matches!(active.destination, Destination::Noop))
        {
            return Ok(active.service().send(call));
        }
        match active {
            Some(active) => active.admit(&mut call)?,
            None => service.admit(&mut call)?,
        }
        Ok(local.send(call))
    }

    /// Finds the exposed implementation of a name.
    fn find<'a>(
        &self,
        table: &'a Table,
        name: &str,
    ) -> Result<(&'a ServiceEntry, &'a Local), Error> {
        let service = table.service(name).filter(|_| self.exposure.covers(name));
        let found = service.and_then(|service| Some((service, service.local.as_ref()?)));
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotRoutable, name, "no service of this name is exposed here")
        })
    }
}

impl Erased for Exposed {
    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
        self.dispatch(call).unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))))
    }
}

impl ExposedServices for Exposed {
    fn exposure(&self) -> &Exposure {
        &self.exposure
    }

    fn method(&self, name: &str) -> Result<Option<&'static MethodDesc>, Error> {
        let table = self.core.table();
        if table.closed {
            return Err(closed(name));
        }
        self.find(&table, name)?.1.find(name)
    }

    fn tagged(&self, mut call: Call) -> Call {
        let table = self.core.table_guard();
        let Ok((service, local)) = self.find(&table, call.name()) else { return call };
        let Ok(method) = local.find(call.name()) else { return call };
        if let Some(tag) = service.unrouted.as_ref().and_then(|route| route.tag.clone()) {
            call.set_route(tag);
        }
        match method {
            Some(method) => call.with_method(method),
            None => call,
        }
    }

    #[cfg(feature = "mcp")]
    fn listed(&self) -> Vec<Listed> {
        let table = self.core.table();
        let mut listed: Vec<_> =
            table.services.iter().flat_map(|(name, service)| listed_of(name, service)).collect();
        listed.retain(|listed| self.exposure.covers(listed.name()) && !is_off(listed, &table));
        listed.sort_by(|one, other| one.name().cmp(other.name()));
        listed
    }

    #[cfg(feature = "mcp")]
    fn tables(&self) -> tokio::sync::watch::Receiver<u64> {
        self.core.tables()
    }
}

#[cfg(feature = "mcp")]
fn listed_of(name: &crate::Name, service: &ServiceEntry) -> Vec<Listed> {
    match service.local.as_ref().map(Local::desc) {
        Some(Some(desc)) => desc.methods().iter().copied().map(Listed::Method).collect(),
        Some(None) => vec![Listed::Raw(name.clone())],
        None => Vec::new(),
    }
}

/// Returns whether every call would fail as `Noop`.
#[cfg(feature = "mcp")]
fn is_off(listed: &Listed, table: &Table) -> bool {
    let active = table.entry(listed.name()).and_then(|entry| entry.active.as_ref());
    let noop = active.is_some_and(|active| matches!(active.destination, Destination::Noop));
    noop && !matches!(listed, Listed::Method(method) if method.noop().is_some())
}
