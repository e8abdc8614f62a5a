//! The names of a row's calls at the server, if they differ from the local names.

use crate::call::Call;
use crate::error::{Error, ErrorKind};
use crate::name::Name;
use crate::routes::{Route, RouteError};
use crate::transport::BuildContext;

/// The name of a row and the name that replaces it at the server.
#[derive(Debug)]
pub(crate) struct RemoteName {
    row: Name,
    remote: Option<Name>,
}

impl RemoteName {
    pub(crate) fn of(route: &Route) -> Self {
        Self { row: route.name().clone(), remote: route.config().remote_name.clone() }
    }

    /// Checks that every known method of a row has a valid name at the server.
    pub(crate) fn check(route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
        let (Some(remote), Some(contract)) =
            (route.config().remote_name.as_ref(), context.contract())
        else {
            return Ok(());
        };
        let mut suffixes = contract
            .methods()
            .iter()
            .filter_map(|method| method.full_name().strip_prefix(route.name().as_str()));
        let check = |suffix| Name::parse(&format!("{remote}{suffix}")).map(drop);
        suffixes.try_for_each(check).map_err(|cause| RouteError::config("remote_name", cause))
    }

    /// Returns the name of a call at the server.
    pub(crate) fn of_call(&self, call: &Call) -> Result<Name, Error> {
        let (Some(remote), Some(suffix)) =
            (&self.remote, call.name().strip_prefix(self.row.as_str()))
        else {
            return Ok(call.full_name().clone());
        };
        let name = Name::parse(&format!("{remote}{suffix}"));
        name.map_err(|cause| {
            call.failed(ErrorKind::RouteInvalid, format_args!("remote_name: {cause}"))
        })
    }
}
