//! What a route was built from beside its row: the files of its TLS keys and its header secrets.

use std::fmt;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::routes::{RouteConfig, RouteError};
use crate::tls;
use crate::transport::Remote;

/// The files and header values that a row refers to, as they were when its route was built.
#[derive(PartialEq)]
pub(crate) struct BuildInputs {
    files: [u8; 32],
    headers: HeaderMap,
}

impl BuildInputs {
    /// Reads them. Call it before anything else reads the files, so that a later change is noticed.
    pub(crate) fn read(config: &RouteConfig) -> Result<Self, RouteError> {
        Ok(Self { files: tls::files_digest(config.tls()), headers: row_headers(config)? })
    }

    /// A digest of the files.
    #[cfg(feature = "mcp")]
    pub(crate) const fn files(&self) -> &[u8; 32] {
        &self.files
    }

    /// The headers of the row, secrets resolved and marked as sensitive.
    pub(crate) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Lets the router rebuild `remote` once a file or secret differs from what was read.
    pub(crate) fn watch(self, remote: Remote, config: &RouteConfig) -> Remote {
        if !refers(config) {
            return remote;
        }
        let config = config.clone();
        remote.with_unchanged(move || Self::read(&config).is_ok_and(|now| now == self))
    }
}

/// Returns whether a row refers to files or secrets, which can change while the row does not.
fn refers(config: &RouteConfig) -> bool {
    tls::names_files(config.tls()) || config.headers().iter().any(|(_, value)| value.is_reference())
}

/// Returns the headers of a row, with secrets resolved and marked as sensitive.
pub(crate) fn row_headers(config: &RouteConfig) -> Result<HeaderMap, RouteError> {
    let mut headers = HeaderMap::new();
    for (name, value) in config.headers() {
        let wrong = |what: &dyn fmt::Display| {
            RouteError::config("headers", format_args!("`{name}`: {what}"))
        };
        let key = HeaderName::try_from(name.as_str()).map_err(|_| wrong(&"is no header name"))?;
        let text = value.resolve().map_err(|cause| wrong(&cause))?;
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| wrong(&"the value has bytes that a header cannot hold"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}
