//! The SQL that moves a service, as an operator would write it.

use std::path::PathBuf;

use crate::strategy::Strategy;

/// The addresses of the second process, and the pin of its certificate.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    /// `127.0.0.1:41234`.
    pub(crate) http: String,
    /// `127.0.0.1:41235`.
    pub(crate) quic: String,
    /// `127.0.0.1:41236`.
    pub(crate) mcp: String,
    /// The path of the socket.
    pub(crate) unix: PathBuf,
    /// The SHA-256 of the certificate that it presents over `quic` and `mcp`.
    pub(crate) pin: String,
}

impl Endpoints {
    /// Returns the statement that moves a service with a row.
    pub(crate) fn update(&self, row: &str, strategy: Strategy) -> String {
        let set: Vec<_> = self
            .columns(row, strategy)
            .iter()
            .map(|(column, value)| format!("{column}={value}"))
            .collect();
        format!("UPDATE routes SET {} WHERE service_name='{row}';", set.join(", "))
    }

    /// Returns the statement that moves a service or method without a row.
    pub(crate) fn insert(&self, row: &str, strategy: Strategy) -> String {
        let (columns, values): (Vec<_>, Vec<_>) = self.columns(row, strategy).into_iter().unzip();
        format!(
            "INSERT INTO routes(service_name, {}) VALUES ('{row}', {});",
            columns.join(", "),
            values.join(", ")
        )
    }

    /// Returns the columns of a row with this strategy. Removes the pin where it has no meaning:
    /// unix identifies the server by its user, and plain http not at all, so a row that asks for
    /// more is refused.
    fn columns(&self, row: &str, strategy: Strategy) -> Vec<(&'static str, String)> {
        let mut columns = vec![("strategy", format!("'{}'", strategy.as_str()))];
        let (endpoint, config) = match strategy {
            Strategy::Local | Strategy::Noop => return columns,
            Strategy::Http => (format!("'http://{}/{row}'", self.http), "'{}'".to_owned()),
            Strategy::Quic => {
                (format!("'{}'", self.quic), format!("json_object('pin_sha256', '{}')", self.pin))
            }
            Strategy::Mcp => {
                (format!("'{}'", self.mcp), format!("json_object('pin_sha256', '{}')", self.pin))
            }
            Strategy::Unix => (format!("'{}'", self.unix.display()), "'{}'".to_owned()),
        };
        columns.extend([("endpoint", endpoint), ("config", config)]);
        columns
    }
}

/// Returns the statement that deletes a row. The row of the service, or local, applies instead.
pub(crate) fn delete(row: &str) -> String {
    format!("DELETE FROM routes WHERE service_name='{row}';")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_says_all_that_a_row_needs_and_no_more() {
        let endpoints = Endpoints {
            http: "h:1".into(),
            quic: "q:2".into(),
            mcp: "m:3".into(),
            unix: "/u.sock".into(),
            pin: "ab".into(),
        };
        assert_eq!(
            endpoints.update("x", Strategy::Local),
            "UPDATE routes SET strategy='local' WHERE service_name='x';"
        );
        assert_eq!(
            endpoints.update("x", Strategy::Quic),
            "UPDATE routes SET strategy='quic', endpoint='q:2', config=json_object('pin_sha256', 'ab') WHERE service_name='x';"
        );
        assert_eq!(
            endpoints.insert("x", Strategy::Unix),
            "INSERT INTO routes(service_name, strategy, endpoint, config) VALUES ('x', 'unix', '/u.sock', '{}');"
        );
        assert!(
            endpoints.update("x", Strategy::Http).contains("endpoint='http://h:1/x', config='{}'")
        );
    }
}
