//! The implementations behind a listener: how its streams find methods, and where calls run.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::call::MethodDesc;
use crate::error::{Error, ErrorKind};
use crate::mux::frame::Declaration;
use crate::name::Name;
use crate::transport::Inbound;
use crate::transport::io::{InlinePolicies, InlinePolicy};

/// The exposed services of a listener, and the runtime of their implementations.
#[derive(Clone)]
pub(super) struct Backend {
    pub(super) inbound: Inbound,
    /// The runtime of the implementations: their timers, their sockets, and the tasks they spawn.
    pub(super) user: Handle,
    policies: InlinePolicies,
}

impl Backend {
    /// Creates the backend of a listener. The current runtime becomes the runtime of its
    /// implementations.
    pub(super) fn new(inbound: Inbound) -> Self {
        Self { inbound, user: Handle::current(), policies: InlinePolicies::default() }
    }

    /// Finds the method that a client declares for a number of its stream.
    pub(super) fn declare(&self, declaration: &Declaration) -> Result<Arc<MethodEntry>, Error> {
        let no_name = |cause: crate::NameError| {
            Error::new(ErrorKind::NotRoutable, &declaration.name, cause.to_string())
        };
        let name = Name::parse(&declaration.name).map_err(no_name)?;
        self.inbound.method(name.as_str())?;
        Ok(Arc::new(MethodEntry::of(self, name, Some(declaration.fingerprint))))
    }
}

/// The method that a number of a stream stands for.
pub(super) struct MethodEntry {
    pub(super) name: Name,
    /// Whether arguments in a positional codec mean the same on this side.
    pub(super) same_contract: bool,
    /// The shape of the method on this side, as text, for the error to a client whose contract
    /// differs.
    pub(super) shape: String,
    pub(super) policy: Arc<InlinePolicy>,
    /// Whether the work goes on when no caller waits for it.
    pub(super) no_cancel: bool,
}

impl MethodEntry {
    pub(super) fn of(backend: &Backend, name: Name, fingerprint: Option<u64>) -> Self {
        let method = backend.inbound.method(name.as_str()).ok().flatten();
        let same_contract = method.is_none_or(|method| fingerprint == Some(method.fingerprint()));
        let shape = method
            .filter(|_| !same_contract)
            .map(|method| method.contract().text.clone())
            .unwrap_or_default();
        let no_cancel = method.is_some_and(MethodDesc::is_no_cancel);
        Self { policy: backend.policies.of(name.as_str()), name, same_contract, shape, no_cancel }
    }
}
