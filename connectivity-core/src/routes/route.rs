//! One checked row.

use super::config::RouteConfig;
use super::error::RouteError;
use super::row::{Field, RouteRow};
use super::strategy::Strategy;
use crate::name::Name;

/// The longest endpoint: longer than any URL that a server takes.
const MAX_ENDPOINT: usize = 8 << 10;

/// Holds one row after every check that needs no transport.
///
/// ```
/// use connectivity_core::{Route, RouteRow};
///
/// let row = RouteRow::new("billing", "http", Some("http://10.0.0.5:8080/billing"), r#"{"timeout_ms":500}"#);
/// let route = Route::parse(&row)?;
/// assert_eq!(route.strategy().as_str(), "http");
/// assert_eq!(route.config().timeout().map(|t| t.as_millis()), Some(500));
/// # Ok::<(), connectivity_core::RouteError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    name: Name,
    strategy: Strategy,
    endpoint: Option<String>,
    config: RouteConfig,
}

impl Route {
    /// Checks a raw row.
    ///
    /// # Errors
    /// Names the first column or key that is wrong, what stands there and what to do.
    pub fn parse(row: &RouteRow) -> Result<Self, RouteError> {
        let name = text("service_name", row.name())?
            .ok_or_else(|| missing("service_name", "a name such as `billing`"))?;
        let name = Name::parse(name).map_err(|e| RouteError::column("service_name", e))?;
        let strategy = text("strategy", row.strategy())?
            .ok_or_else(|| missing("strategy", "a word such as `local`"))?;
        let strategy = Strategy::parse(strategy)?;
        let endpoint = endpoint(row, &strategy)?;
        let config =
            RouteConfig::parse(text("config", row.config())?.unwrap_or_default(), &strategy)?;
        Ok(Self { name, strategy, endpoint, config })
    }

    /// Names the service or method.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Says how calls are served.
    #[must_use]
    pub const fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// Says where the transport goes; on `local` and `noop` it is parked for the next move and has
    /// no effect.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// What the column `config` says, with defaults filled in.
    #[must_use]
    pub const fn config(&self) -> &RouteConfig {
        &self.config
    }
}

fn endpoint(row: &RouteRow, strategy: &Strategy) -> Result<Option<String>, RouteError> {
    let endpoint = text("endpoint", row.endpoint())?.filter(|text| !text.is_empty());
    match endpoint {
        Some(text) if text.len() > MAX_ENDPOINT => {
            Err(RouteError::endpoint("it is longer than 8 KiB; shorten it"))
        }
        Some(text) if text.contains(char::is_control) => Err(RouteError::endpoint(
            "it holds a control character; write it anew without line breaks",
        )),
        // Without an endpoint `embed` serves zero vectors, as the original does.
        None if strategy.is_remote() && strategy.as_str() != "embed" => {
            Err(RouteError::endpoint(format_args!(
                "strategy `{strategy}` needs one: UPDATE routes SET endpoint = '..' in the same statement"
            )))
        }
        endpoint => Ok(endpoint.map(str::to_owned)),
    }
}

fn text<'a>(column: &str, field: &'a Field) -> Result<Option<&'a str>, RouteError> {
    match field {
        Field::Null => Ok(None),
        Field::Text(text) => Ok(Some(text)),
        Field::Other { what } => {
            Err(RouteError::column(column, format_args!("it is {what}; write plain text there")))
        }
    }
}

fn missing(column: &str, wanted: &str) -> RouteError {
    RouteError::column(column, format_args!("it is NULL; write {wanted} there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(row: &RouteRow, wanted: &str) {
        let text = Route::parse(row).unwrap_err().to_string();
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn reads_a_whole_row() {
        let row = RouteRow::new("billing.charge", "quic", Some("10.0.0.5:4433"), "{}");
        let route = Route::parse(&row).unwrap();
        assert_eq!(route.name().as_str(), "billing.charge");
        assert_eq!(route.endpoint(), Some("10.0.0.5:4433"));
        assert!(route.config().warnings().is_empty());
    }

    #[test]
    fn a_remote_route_needs_an_endpoint_except_embed() {
        refused(&RouteRow::new("a", "quic", None, "{}"), "endpoint: strategy `quic` needs one");
        refused(&RouteRow::new("a", "http", Some(""), "{}"), "needs one");
        assert!(Route::parse(&RouteRow::new("a", "embed", None, "")).is_ok());
    }

    #[test]
    fn an_endpoint_may_stay_while_a_route_is_local() {
        for strategy in ["local", "noop"] {
            assert!(
                Route::parse(&RouteRow::new("a", strategy, Some("10.0.0.5:4433"), "{}")).is_ok()
            );
            assert!(Route::parse(&RouteRow::new("a", strategy, None, "{}")).is_ok());
        }
    }

    #[test]
    fn every_column_can_be_the_bad_one() {
        let good =
            || [Field::text("a"), Field::text("http"), Field::text("http://x/"), Field::text("{}")];
        for (at, column) in
            ["service_name", "strategy", "endpoint", "config"].into_iter().enumerate()
        {
            for what in ["a blob", "a number", "text that is not UTF-8", "longer than 1 MiB"] {
                let mut fields = good();
                fields[at] = Field::Other { what };
                let [name, strategy, endpoint, config] = fields;
                let row = RouteRow::from_fields(name, strategy, endpoint, config);
                refused(&row, &format!("{column}: it is {what}; "));
            }
        }
    }

    #[test]
    fn null_is_bad_only_where_something_must_stand() {
        let row = |name, strategy| RouteRow::from_fields(name, strategy, Field::Null, Field::Null);
        refused(&row(Field::Null, Field::text("local")), "service_name: it is NULL");
        refused(&row(Field::text("a"), Field::Null), "strategy: it is NULL");
        assert!(Route::parse(&row(Field::text("a"), Field::text("local"))).is_ok());
    }

    #[test]
    fn bad_texts_are_refused() {
        refused(&RouteRow::new("a b", "local", None, "{}"), "service_name: `a b` is no name");
        refused(&RouteRow::new("a", "LOCAL", None, "{}"), "strategy: `LOCAL`");
        refused(&RouteRow::new("a", "quic", Some("x\ny"), "{}"), "control character");
        refused(&RouteRow::new("a", "quic", Some(&"x".repeat(9000)), "{}"), "8 KiB");
        refused(&RouteRow::new("a", "local", None, "[]"), "config: ");
    }
}
