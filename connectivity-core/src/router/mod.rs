//! The router: where calls are sent, by the rows of a table that can change at any moment.

mod active_route;
mod builder;
mod core;
mod entry;
mod exposed;
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

/// Sends calls where the rows of a table say, and follows the table as it changes.
///
/// A router is cheap to clone; clones and the clients made from them share everything, and it lives
/// as long as one of them.
#[derive(Clone)]
pub struct Router(Arc<Core>);

impl Router {
    /// Registers an implementation: `router.register(BillingService::new(Stripe))`, or
    /// `register!(router, Billing => Stripe)`.
    ///
    /// Calls reach it before this returns, if its row says `local` or there is none. Where the
    /// source can be written, a missing row `local` is added, so that the first UPDATE of an
    /// operator finds one; that is one short transaction. While another transaction holds the
    /// source, the row comes later by itself, and [`inspect`](Self::inspect) has a warning until
    /// then.
    ///
    /// # Errors
    /// When the name is taken, the router is closed, or the row could not be added (the
    /// implementation stays registered then).
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
    /// As [`register`](Self::register); also for a text that is no [`Name`].
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

    /// Adds a transport, or replaces the one of that name. Rows that name it are in force before
    /// this returns.
    ///
    /// # Errors
    /// When the name is none of a strategy, or `local` or `noop`, which need no transport; when the
    /// source refuses it as a word for `routes.strategy`.
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

    /// Adds a tower layer around all calls going out, local ones too, inside of those that were
    /// added before.
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

    /// Calls a service by name, as a gateway or a tool does: bytes for a raw service, JSON with
    /// named arguments for a method.
    ///
    /// # Errors
    /// What went wrong with the call. The error type of a contract comes as
    /// [`Remote`](ErrorKind::Remote); use [`send`](Self::send) to see it.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn call(&self, name: &str, payload: impl Into<Bytes>) -> Result<Bytes, Error> {
        let no_name =
            |cause: NameError| Error::new(ErrorKind::NotRoutable, name, cause.to_string());
        let name = Name::parse(name).map_err(no_name)?;
        let typed = self.0.table().known(name.as_str()).is_some_and(|known| known.desc.is_some());
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

    /// Sends a call where the table says, through the layers, and gives the answer as it came.
    ///
    /// # Errors
    /// What went wrong with the call; an error of the contract is a [`Reply`].
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
        let known = table.known(call.name());
        if let Some(local) = known.and_then(|known| known.local.as_ref()) {
            local.find(call.name())?;
        }
        let method = known.and_then(|known| known.desc?.method(call.name()));
        let call = match method {
            Some(method) => call.with_method(method),
            None => call,
        };
        Ok((service, call))
    }

    /// Reads the source now and puts what it says in force, without waiting for the watcher.
    ///
    /// # Errors
    /// When the source cannot be read; the routes in force stay.
    pub async fn reload(&self) -> Result<(), SourceError> {
        let core = Arc::clone(&self.0);
        let reload = tokio::task::spawn_blocking(move || core.reload());
        reload.await.unwrap_or_else(|_gone| Err(SourceError::new("the runtime was shut down")))
    }

    /// Gives what changes the rows of this router. A change it has made is in force here when its
    /// function returns, and everywhere else as soon as it is noticed.
    ///
    /// # Errors
    /// When the rows are in no SQLite file: they are changed where they come from then.
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
            // A failed reload stands on `inspect`, and the watcher tries it again.
            let _ = core.upgrade().map(|core| core.reload());
        }))
    }

    /// Says which generation of the routes is in force: it grows with every change of a row.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.table().generation
    }

    /// Shows every row with what became of it, and what is wrong.
    #[must_use]
    pub fn inspect(&self) -> Inspection {
        inspect::inspect(&self.0)
    }

    /// Lists the services that this process implements or has clients of, by name.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceInfo> {
        inspect::services(&self.0.table())
    }

    /// Takes calls from outside for the implementations registered here; for listeners of your own.
    #[must_use]
    pub fn inbound(&self, exposed: Exposure) -> Inbound {
        Inbound::new(Arc::new(Exposed::new(Arc::clone(&self.0), exposed)))
    }

    /// Notes what is exposed and not registered: by mistake, or not yet.
    pub(crate) fn note_unknown(&self, exposed: &Exposure) {
        let table = self.0.table();
        for name in exposed.names().into_iter().flatten() {
            if table.known(name).is_none_or(|known| known.local.is_none()) {
                let mut registered: Vec<_> =
                    table.services.iter().filter(|(_, known)| known.local.is_some()).collect();
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

    /// Closes the router: new calls fail as [`Closed`](ErrorKind::Closed), calls in flight get
    /// `limit` to end. Always returns.
    ///
    /// A call that went straight to a local implementation is a plain function call and is not
    /// waited for.
    ///
    /// Returns how many calls were still in flight when the limit had passed; they end with an
    /// error.
    ///
    /// # Cancel safety
    /// New calls are refused from the first poll on; dropping the future ends the waiting only.
    pub async fn close(&self, limit: Duration) -> usize {
        let core = Arc::clone(&self.0);
        // The watcher's thread may be in the middle of a reload; joining it must not hold up this
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

/// Says why an implementation could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A service of this name is registered already.
    #[error("`{0}` is registered already")]
    AlreadyRegistered(Name),
    /// A client of another contract under this name was made in this process before.
    #[error(
        "`{name}` cannot be registered: a client of another contract was made here under this name: {differs}"
    )]
    OtherContract {
        /// The service.
        name: Name,
        /// How the two contracts differ.
        differs: String,
    },
    /// The text is no name.
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
        /// Why not.
        #[source]
        cause: SourceError,
    },
}
