//! The SQL that moves a service, as an operator would write it.

use std::path::PathBuf;

use crate::signpost::Way;

/// Where the second process listens, and how it is recognised.
#[derive(Clone, Debug)]
pub(crate) struct Far {
    /// `127.0.0.1:41234`.
    pub(crate) http: String,
    /// `127.0.0.1:41235`.
    pub(crate) quic: String,
    /// `127.0.0.1:41236`.
    pub(crate) mcp: String,
    /// The path of the socket.
    pub(crate) unix: PathBuf,
    /// The SHA-256 of the certificate that it shows to those who come by `quic` and `mcp`.
    pub(crate) pin: String,
}

impl Far {
    /// Moves a service that has a row.
    pub(crate) fn update(&self, row: &str, way: Way) -> String {
        let set: Vec<_> = self
            .columns(row, way)
            .iter()
            .map(|(column, value)| format!("{column}={value}"))
            .collect();
        format!("UPDATE routes SET {} WHERE service_name='{row}';", set.join(", "))
    }

    /// Moves a service or method that has none.
    pub(crate) fn insert(&self, row: &str, way: Way) -> String {
        let (columns, values): (Vec<_>, Vec<_>) = self.columns(row, way).into_iter().unzip();
        format!(
            "INSERT INTO routes(service_name, {}) VALUES ('{row}', {});",
            columns.join(", "),
            values.join(", ")
        )
    }

    /// What a row says that leads this way. A pin is taken out where it means nothing: unix knows
    /// the other end by its user, and plain http by nothing, so that a row which asks for more is
    /// refused.
    fn columns(&self, row: &str, way: Way) -> Vec<(&'static str, String)> {
        let mut columns = vec![("strategy", format!("'{}'", way.word()))];
        let (endpoint, config) = match way {
            Way::Local | Way::Noop => return columns,
            Way::Http => (format!("'http://{}/{row}'", self.http), "'{}'".to_owned()),
            Way::Quic => {
                (format!("'{}'", self.quic), format!("json_object('pin_sha256', '{}')", self.pin))
            }
            Way::Mcp => {
                (format!("'{}'", self.mcp), format!("json_object('pin_sha256', '{}')", self.pin))
            }
            Way::Unix => (format!("'{}'", self.unix.display()), "'{}'".to_owned()),
        };
        columns.extend([("endpoint", endpoint), ("config", config)]);
        columns
    }
}

/// Removes a row; what stands above it in the name takes over.
pub(crate) fn delete(row: &str) -> String {
    format!("DELETE FROM routes WHERE service_name='{row}';")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_says_all_that_a_row_needs_and_no_more() {
        let far = Far {
            http: "h:1".into(),
            quic: "q:2".into(),
            mcp: "m:3".into(),
            unix: "/u.sock".into(),
            pin: "ab".into(),
        };
        assert_eq!(
            far.update("x", Way::Local),
            "UPDATE routes SET strategy='local' WHERE service_name='x';"
        );
        assert_eq!(
            far.update("x", Way::Quic),
            "UPDATE routes SET strategy='quic', endpoint='q:2', config=json_object('pin_sha256', 'ab') WHERE service_name='x';"
        );
        assert_eq!(
            far.insert("x", Way::Unix),
            "INSERT INTO routes(service_name, strategy, endpoint, config) VALUES ('x', 'unix', '/u.sock', '{}');"
        );
        assert!(far.update("x", Way::Http).contains("endpoint='http://h:1/x', config='{}'"));
    }
}
