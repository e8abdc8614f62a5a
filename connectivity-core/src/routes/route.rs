//! A validated row.

use super::config::RouteConfig;
use super::error::RouteError;
use super::row::{Field, RouteRow};
use super::strategy::Strategy;
use crate::name::Name;

/// Maximum length of an endpoint in bytes: longer than any URL that a server accepts.
const MAX_ENDPOINT: usize = 8 << 10;

/// One row after all checks that need no transport.
///
/// ```
/// use connectivity_core::{Route, RouteRow};
///
/// let row = RouteRow::new("billing", "http", Some("http://10.0.0.5:8080/billing"), r#"{"timeout_ms":500}"#);
/// let route = Route::parse(&row)?;
/// assert_eq!(route.strategy().as_str(), "http");
/// assert_eq!(route.config().timeout.map(|t| t.as_millis()), Some(500));
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
    /// Parses and validates a raw row.
    ///
    /// # Errors
    /// Returns an error that names the first invalid column or key, its value and the remedy.
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

    /// Returns the name of the service or method.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the strategy, which decides how calls are served.
    #[must_use]
    pub const fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// Returns the endpoint, that is the address for the transport. On `local` and `noop` it has no
    /// effect and is kept for a later change of the strategy.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Returns the parsed column `config`, with defaults filled in.
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
        // Without an endpoint, `embed` serves zero vectors, and `dbsync` the status of a replica, as
        // the original Go implementation does.
        None if strategy.is_remote() && !["embed", "dbsync"].contains(&strategy.as_str()) => {
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

fn missing(column: &str, expected: &str) -> RouteError {
    RouteError::column(column, format_args!("it is NULL; write {expected} there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_rejected(row: &RouteRow, expected: &str) {
        let text = Route::parse(row).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn reads_a_whole_row() {
        let row = RouteRow::new("billing.charge", "quic", Some("10.0.0.5:4433"), "{}");
        let route = Route::parse(&row).unwrap();
        assert_eq!(route.name().as_str(), "billing.charge");
        assert_eq!(route.endpoint(), Some("10.0.0.5:4433"));
        assert!(route.config().warnings.is_empty());
    }

    #[test]
    fn a_remote_route_needs_an_endpoint_except_embed_and_dbsync() {
        assert_rejected(
            &RouteRow::new("a", "quic", None, "{}"),
            "endpoint: strategy `quic` needs one",
        );
        assert_rejected(&RouteRow::new("a", "http", Some(""), "{}"), "needs one");
        assert!(Route::parse(&RouteRow::new("a", "embed", None, "")).is_ok());
        assert!(Route::parse(&RouteRow::new("a", "dbsync", None, "")).is_ok());
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
        let valid_fields =
            || [Field::text("a"), Field::text("http"), Field::text("http://x/"), Field::text("{}")];
        for (index, column) in
            ["service_name", "strategy", "endpoint", "config"].into_iter().enumerate()
        {
            for what in ["a blob", "a number", "text that is not UTF-8", "longer than 1 MiB"] {
                let mut fields = valid_fields();
                fields[index] = Field::Other { what };
                let [name, strategy, endpoint, config] = fields;
                let row = RouteRow::from_fields(name, strategy, endpoint, config);
                assert_rejected(&row, &format!("{column}: it is {what}; "));
            }
        }
    }

    #[test]
    fn null_is_bad_only_where_something_must_stand() {
        let row = |name, strategy| RouteRow::from_fields(name, strategy, Field::Null, Field::Null);
        assert_rejected(&row(Field::Null, Field::text("local")), "service_name: it is NULL");
        assert_rejected(&row(Field::text("a"), Field::Null), "strategy: it is NULL");
        assert!(Route::parse(&row(Field::text("a"), Field::text("local"))).is_ok());
    }

    #[test]
    fn bad_texts_are_refused() {
        assert_rejected(
            &RouteRow::new("a b", "local", None, "{}"),
            "service_name: `a b` is no name",
        );
        assert_rejected(&RouteRow::new("a", "LOCAL", None, "{}"), "strategy: `LOCAL`");
        assert_rejected(&RouteRow::new("a", "quic", Some("x\ny"), "{}"), "control character");
        assert_rejected(&RouteRow::new("a", "quic", Some(&"x".repeat(9000)), "{}"), "8 KiB");
        assert_rejected(&RouteRow::new("a", "local", None, "[]"), "config: ");
    }
}
