//! The inputs of a route beyond its row: the files of its TLS keys and its header secrets.

use std::fmt;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::security;
use crate::routes::{RouteConfig, RouteError};
use crate::transport::Remote;

/// The files and header values that a row refers to, as they were when its route was built.
#[derive(PartialEq)]
pub(crate) struct BuildInputs {
    files: [u8; 32],
    headers: HeaderMap,
}

impl BuildInputs {
    /// Reads the inputs. Call it before anything else reads the files, so that a later change is
    /// detected.
    pub(crate) fn read(config: &RouteConfig) -> Result<Self, RouteError> {
        Ok(Self { files: security::files_digest(&config.tls), headers: row_headers(config)? })
    }

    /// Returns a digest of the files.
    #[cfg(feature = "mcp")]
    pub(crate) const fn files(&self) -> &[u8; 32] {
        &self.files
    }

    /// Returns the headers of the row, with secrets resolved and marked as sensitive.
    pub(crate) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Lets the router rebuild `remote` once a file or secret differs from what was read.
    pub(crate) fn watch(self, remote: Remote, config: &RouteConfig) -> Remote {
        if !refers_to_files(config) {
            return remote;
        }
        let config = config.clone();
        remote.with_unchanged(move || Self::read(&config).is_ok_and(|now| now == self))
    }
}

/// Returns whether a row refers to files or secrets, which can change while the row does not.
pub(crate) fn refers_to_files(config: &RouteConfig) -> bool {
    security::names_files(&config.tls)
        || config.headers.iter().any(|(_, value)| value.is_reference())
}

/// Returns the headers of a row, with secrets resolved and marked as sensitive.
pub(crate) fn row_headers(config: &RouteConfig) -> Result<HeaderMap, RouteError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let invalid = |problem: &dyn fmt::Display| {
            RouteError::config("headers", format_args!("`{name}`: {problem}"))
        };
        let key = HeaderName::try_from(name.as_str()).map_err(|_| invalid(&"is no header name"))?;
        let text = value.resolve().map_err(|cause| invalid(&cause))?;
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| invalid(&"the value has bytes that a header cannot hold"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}
