//! What the calls of a row are named on the other side.

use crate::call::Call;
use crate::error::{Error, ErrorKind};
use crate::name::Name;
use crate::routes::{Route, RouteError};
use crate::transport::BuildContext;

/// The name in a row, and what stands for it on the other side.
#[derive(Debug)]
pub(crate) struct RemoteName {
    row: Name,
    remote: Option<Name>,
}

impl RemoteName {
    pub(crate) fn of(route: &Route) -> Self {
        Self { row: route.name().clone(), remote: route.config().remote_name.clone() }
    }

    /// Checks that every method that is known to go by a row has a name on the other side.
    pub(crate) fn check(route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
        let (Some(remote), Some(contract)) =
            (route.config().remote_name.as_ref(), context.contract())
        else {
            return Ok(());
        };
        let mut ends = contract
            .methods()
            .iter()
            .filter_map(|method| method.full_name().strip_prefix(route.name().as_str()));
        let name = |end| Name::parse(&format!("{remote}{end}")).map(drop);
        ends.try_for_each(name).map_err(|cause| RouteError::config("remote_name", cause))
    }

    /// The name of a call on the other side.
    pub(crate) fn of_call(&self, call: &Call) -> Result<Name, Error> {
        let (Some(remote), Some(rest)) =
            (&self.remote, call.name().strip_prefix(self.row.as_str()))
        else {
            return Ok(call.full_name().clone());
        };
        let name = Name::parse(&format!("{remote}{rest}"));
        name.map_err(|cause| {
            call.failed(ErrorKind::RouteInvalid, format_args!("remote_name: {cause}"))
        })
    }
}
