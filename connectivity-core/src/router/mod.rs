//! The router: sends calls by the rows of a table that can change at any moment.

mod active_route;
mod build_entry;
mod builder;
mod core;
mod drain;
mod entry;
mod exposed;
mod fault;
mod flight;
mod inspect;
mod layers;
mod local;
mod path;
mod policies;
mod recheck;
mod reentry;
mod reload;
mod table;
#[cfg(test)]
mod tests;
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tower_layer::Layer;
use tower_service::Service;

use crate::call::{Call, CallService, Reply, ServiceDesc};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind};
use crate::name::{Name, NameError};
#[cfg(feature = "sqlite")]
use crate::routes::Admin;
use crate::routes::SourceError;
use crate::service::{Host, Registrable, ServiceCell, ServiceRegistry};
use crate::transport::{Exposure, Inbound, Transport};

pub use builder::{OpenError, RouterBuilder};
pub use inspect::{Inspection, LastError, RouteInfo, RouteState, ServiceInfo};
pub use local::RawService;
pub use table::MissingRow;

use self::core::Core;
use self::exposed::Exposed;
use self::reload::State;
use self::table::Table;

/// Routes calls by the rows of a table and follows the table as it changes.
///
/// A router is cheap to clone. Clones and the clients created from them share all state, and the
/// router lives as long as one of them.
#[derive(Clone)]
pub struct Router(Arc<Core>);

impl Router {
    /// Registers an implementation: `router.register(BillingService::new(Stripe))`, or
    /// `register!(router, Billing => Stripe)`.
    ///
    /// If the row of the service says `local` or is missing, calls reach the implementation before
    /// this function returns. If the source is writable, a missing row is added with strategy
    /// `local` in one short transaction, so that the first UPDATE of an operator finds a row. While
    /// another transaction holds the source, the row is queued and added later, and
    /// [`inspect`](Self::inspect) shows a warning until then.
    ///
    /// # Errors
    /// Fails if the name is taken, the router is closed, or the row could not be added. In the last
    /// case the implementation stays registered.
    pub fn register<R: Registrable>(&self, service: R) -> Result<(), RegisterError> {
        let (typed, dispatch) = service.into_parts();
        let desc = dispatch.desc();
        let name = Name::from_static(desc.name());
        self.add_local(&name, |state| {
            if state.raw.contains_key(&name) {
                return Err(RegisterError::AlreadyRegistered(name.clone()));
            }
            let cell =
                state.cells.entry(name.clone()).or_insert_with(|| Arc::new(ServiceCell::new(desc)));
            match cell.set_local(typed, dispatch) {
                true => Ok(()),
                false if cell.local().is_some() => {
                    Err(RegisterError::AlreadyRegistered(name.clone()))
                }
                false => {
                    let differs = cell.desc().difference(desc);
                    Err(RegisterError::OtherContract { name: name.clone(), differs })
                }
            }
        })
    }

    /// Registers a raw service: bytes in, bytes out, no contract.
    ///
    /// ```
    /// # use connectivity_core::{MemoryRoutes, Router};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let router = Router::builder().source(MemoryRoutes::new()).build()?;
    /// router.register_raw("thumbnail", async |image| Ok(image))?;
    /// assert_eq!(router.call("thumbnail", "png").await?, "png");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Like [`register`](Self::register), and also if `name` is not a valid [`Name`].
    pub fn register_raw(&self, name: &str, service: impl RawService) -> Result<(), RegisterError> {
        let name = Name::parse(name)?;
        self.add_local(&name, |state| {
            if state.cells.get(&name).is_some_and(|cell| cell.local().is_none()) {
                let differs = "that client is of a typed service, and this one is raw".to_owned();
                return Err(RegisterError::OtherContract { name: name.clone(), differs });
            }
            if state.cells.contains_key(&name) || state.raw.contains_key(&name) {
                return Err(RegisterError::AlreadyRegistered(name.clone()));
            }
            state.raw.insert(name.clone(), Arc::new(service));
            Ok(())
        })
    }

    fn add_local(
        &self,
        name: &Name,
        add: impl FnOnce(&mut State) -> Result<(), RegisterError>,
    ) -> Result<(), RegisterError> {
        self.0.change_service(name, |state| {
            if state.closed {
                return Err(RegisterError::Closed(name.clone()));
            }
            add(state)
        })?;
        self.0
            .add_missing_row(name)
            .map_err(|cause| RegisterError::Row { name: name.clone(), cause })
    }

    /// Adds a transport, or replaces the one for that strategy. Rows with the strategy are in force
    /// before this function returns.
    ///
    /// # Errors
    /// Fails if `strategy` is not a valid strategy name, if it is `local` or `noop`, which need no
    /// transport, or if the source refuses it as a value of `routes.strategy`.
    pub fn add_transport(
        &self,
        strategy: &str,
        transport: impl Transport,
    ) -> Result<(), SourceError> {
        builder::check_transport(strategy)?;
        self.0.source().add_strategies(&[strategy])?;
        self.0.change(|state| {
            state.transports.insert(strategy.to_owned(), Arc::new(transport));
            Ok(())
        })
    }

    /// Adds a tower layer around all outgoing calls, including local ones, inside the layers added
    /// before.
    pub fn layer<L>(&self, layer: L)
    where
        L: Layer<CallService> + Send + Sync + 'static,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.add_layer(None, layer);
    }

    /// Adds a tower layer around the calls of one service and its methods.
    pub fn layer_for<L>(&self, service: &str, layer: L)
    where
        L: Layer<CallService> + Send + Sync + 'static,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.add_layer(Some(service.to_owned()), layer);
    }

    fn add_layer<L>(&self, service: Option<String>, layer: L)
    where
        L: Layer<CallService> + Send + Sync + 'static,
        L::Service: Service<Call, Response = Reply, Error = Error, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let added = self.0.change(|state| {
            state.layers.push(service, layer);
            state.layers_version += 1;
            Ok::<(), std::convert::Infallible>(())
        });
        added.unwrap_or_else(|never| match never {});
    }

    /// Calls a service by name, for gateways and tools. The payload is bytes for a raw service, and
    /// JSON with named arguments for a method.
    ///
    /// # Errors
    /// Returns the error of the call. An error type of the contract becomes
    /// [`Remote`](ErrorKind::Remote); use [`send`](Self::send) to get its value.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn call(&self, name: &str, payload: impl Into<Bytes>) -> Result<Bytes, Error> {
        let no_name =
            |cause: NameError| Error::new(ErrorKind::NotRoutable, name, cause.to_string());
        let name = Name::parse(name).map_err(no_name)?;
        let service_desc =
            |table: &Table| table.service(name.as_str()).and_then(|service| service.desc);
        let typed = service_desc(&self.0.table()).is_some();
        let call = if typed {
            Call::encoded(name, Codec::Json, payload)
        } else {
            Call::raw(name, payload)
        };
        let name = call.name().to_owned();
        let reply = self.send(call).await?;
        if reply.is_app_error() {
            return Err(Error::new(
                ErrorKind::Remote,
                name,
                "the service answered with the error type of its contract",
            ));
        }
        reply.encode(&name, Codec::Json).map(|(_, bytes)| bytes)
    }

    /// Sends a call through the layers to its route and returns the reply as it arrived.
    ///
    /// # Errors
    /// Returns the error of the call. An error type of the contract is a [`Reply`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn send(&self, call: Call) -> Result<Reply, Error> {
        let (service, call) = self.route(call)?;
        service.send(call).await
    }

    fn route(&self, call: Call) -> Result<(CallService, Call), Error> {
        let table = self.0.table();
        let service = table.resolve(call.name())?.service.clone();
        let entry = table.service(call.name());
        if let Some(local) = entry.and_then(|entry| entry.local.as_ref()) {
            local.find(call.name())?;
        }
        let method = entry.and_then(|entry| entry.desc?.method(call.name()));
        let call = match method {
            Some(method) => call.with_method(method),
            None => call,
        };
        Ok((service, call))
    }

    /// Reads the source now and puts its rows in force, without waiting for the watcher.
    ///
    /// # Errors
    /// Fails if the source cannot be read. The routes in force stay.
    ///
    /// # Cancel safety
    /// The reload runs on a blocking thread and completes even if the future is dropped after its
    /// first poll.
    pub async fn reload(&self) -> Result<(), SourceError> {
        let core = Arc::clone(&self.0);
        let reload = tokio::task::spawn_blocking(move || core.reload());
        reload.await.unwrap_or_else(|_gone| Err(SourceError::new("the runtime was shut down")))
    }

    /// Returns the [`Admin`], which edits the rows of this router. An edit is in force here when
    /// the function that makes it returns, and in other processes as soon as they notice it.
    ///
    /// # Errors
    /// Fails if the rows are not in a SQLite file. They must be changed at their source then.
    #[cfg(feature = "sqlite")]
    pub fn admin(&self) -> Result<Admin, SourceError> {
        let elsewhere =
            "the rows of this router are in no SQLite file; change them where they come from";
        let admin = self.0.source().admin().ok_or_else(|| SourceError::new(elsewhere))?;
        let core = Arc::downgrade(&self.0);
        let transports = core.clone();
        let admin = admin.checked_by(Arc::new(move |route| match transports.upgrade() {
            Some(core) => core.check(route),
            None => Ok(()),
        }));
        Ok(admin.and_then(move || {
            // `inspect` reports a failed reload, and the watcher retries it.
            let _ = core.upgrade().map(|core| core.reload());
        }))
    }

    /// Returns the generation of the routes in force. It grows with every change of a row.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.table().generation
    }

    /// Returns a snapshot of every row with its route, its state and its faults.
    #[must_use]
    pub fn inspect(&self) -> Inspection {
        inspect::inspect(&self.0)
    }

    /// Returns the services that this process implements or has clients of, sorted by name.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceInfo> {
        inspect::services(&self.0.table())
    }

    /// Returns the entry point for inbound calls to the implementations registered here. Used by
    /// custom listeners.
    #[must_use]
    pub fn inbound(&self, exposed: Exposure) -> Inbound {
        Inbound::new(Arc::new(Exposed::new(Arc::clone(&self.0), exposed)))
    }

    /// Logs a warning for each exposed name that is not registered, by mistake or not yet.
    pub(crate) fn warn_of_unregistered(&self, exposed: &Exposure) {
        let table = self.0.table();
        for name in exposed.names().into_iter().flatten() {
            if table.service(name).is_none_or(|service| service.local.is_none()) {
                let mut registered: Vec<_> =
                    table.services.iter().filter(|(_, service)| service.local.is_some()).collect();
                registered.sort_by_key(|(name, _)| *name);
                let registered: Vec<_> = registered.iter().map(|(name, _)| name.as_str()).collect();
                tracing::warn!(
                    name,
                    ?registered,
                    "what is exposed is not registered here, and cannot be called until it is"
                );
            }
        }
    }

    /// Closes the router gracefully: new calls fail as [`Closed`](ErrorKind::Closed), and calls in
    /// flight get `limit` to complete. Returns after `limit` at the latest.
    ///
    /// A call on the fast path to a local implementation is a plain function call. `close` does not
    /// wait for it.
    ///
    /// Returns the number of calls still in flight after `limit`. They end with an error.
    ///
    /// # Cancel safety
    /// New calls are refused from the first poll on. Dropping the future only ends the wait: calls
    /// in flight are then not ended after `limit`.
    pub async fn close(&self, limit: Duration) -> usize {
        let core = Arc::clone(&self.0);
        // The watcher's thread may be in the middle of a reload. Joining it must not block this
        // runtime.
        let stopped = tokio::task::spawn_blocking(move || core.stop_watching());
        let closed = self.0.change(|state| {
            state.closed = true;
            Ok::<_, std::convert::Infallible>(state.flights.all())
        });
        let flights = closed.unwrap_or_else(|never| match never {});
        let _ = tokio::time::timeout(limit, flights.idle()).await;
        drop(stopped);
        flights.cut()
    }
}

impl crate::service::Sealed for Router {}

impl ServiceRegistry for Router {
    fn service_cell(&self, desc: &'static ServiceDesc) -> (Arc<ServiceCell>, Arc<dyn Host>) {
        (self.0.cell(desc), Arc::clone(&self.0) as Arc<dyn Host>)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

/// The error of a registration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A service of this name is registered already.
    #[error("`{0}` is registered already")]
    AlreadyRegistered(Name),
    /// This process already has a client of another contract under this name.
    #[error(
        "`{name}` cannot be registered: a client of another contract was made here under this name: {differs}"
    )]
    OtherContract {
        /// The service.
        name: Name,
        /// How the two contracts differ.
        differs: String,
    },
    /// The text is not a valid name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The router is closed.
    #[error("`{0}` cannot be registered: the router is closed")]
    Closed(Name),
    /// The implementation is registered, but its row could not be added.
    #[error("`{name}` is registered, but a row for it could not be added to the routes")]
    Row {
        /// The service.
        name: Name,
        /// The error of the source.
        #[source]
        cause: SourceError,
    },
}
