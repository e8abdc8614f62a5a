//! The endpoint of a row: validated once, then extended for each method.

use reqwest::Url;

use crate::http::client::guard::Guard;
use crate::routes::{RouteError, RouteTls};

/// The URL of the name in a row.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    url: Url,
    /// The name in the row, which the URL stands for.
    name: String,
    /// The host to dial, if it differs from the URL's.
    dial_host: Option<String>,
}

impl Endpoint {
    /// Validates the endpoint of a row, and applies the server name of its TLS keys.
    pub(crate) fn of_row(
        text: &str,
        name: &str,
        tls: &RouteTls,
        guard: &Guard,
    ) -> Result<Self, RouteError> {
        let endpoint = Self::parse(text, name, guard)?;
        match &tls.server_name {
            Some(server_name) => endpoint.with_server_name(server_name),
            None => Ok(endpoint),
        }
    }

    /// Validates everything about an endpoint that needs no network.
    fn parse(text: &str, name: &str, guard: &Guard) -> Result<Self, RouteError> {
        let invalid = |problem: &str| {
            RouteError::endpoint(format_args!(
                "{problem}; write it like http://10.0.0.5:8080/{name}"
            ))
        };
        let url = Url::parse(text).map_err(|cause| invalid(&format!("it is no URL ({cause})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("its scheme is neither http nor https"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("it has no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid(
                "it holds a user or a password; an `authorization` in config.headers can be env:NAME or file:/path",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(
                "it has a query or a fragment, and the name of a method could not follow",
            ));
        }
        guard.check_url(&url).map_err(RouteError::endpoint)?;
        Ok(Self { url, name: name.to_owned(), dial_host: None })
    }

    /// Replaces the host in the URL with `server_name`, and keeps dialling the host of the row.
    fn with_server_name(mut self, server_name: &str) -> Result<Self, RouteError> {
        let host = self
            .url
            .host_str()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        // An address in the URL would be dialled directly, bypassing the resolver and its guard.
        if self.url.set_host(Some(server_name)).is_err() || self.url.domain().is_none() {
            return Err(RouteError::config(
                "server_name",
                "with a URL the name of a host goes here, no address",
            ));
        }
        self.dial_host = Some(host);
        Ok(self)
    }

    pub(crate) fn dial_host(&self) -> Option<&str> {
        self.dial_host.as_deref()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Returns the URL of a call: that of the row, extended by the part of the called name that
    /// follows the row's.
    pub(crate) fn url(&self, called: &str) -> Url {
        let mut url = self.url.clone();
        if let Some(rest) = called.strip_prefix(&*self.name).filter(|rest| !rest.is_empty()) {
            url.set_path(&format!("{}{rest}", self.url.path()));
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<Endpoint, RouteError> {
        Endpoint::parse(text, "billing", &Guard::new())
    }

    #[test]
    fn a_method_is_appended_to_what_the_row_addresses() {
        let endpoint = endpoint("https://example.com/rpc/billing").unwrap();
        assert_eq!(endpoint.url("billing").as_str(), "https://example.com/rpc/billing");
        assert_eq!(
            endpoint.url("billing.charge").as_str(),
            "https://example.com/rpc/billing.charge"
        );
    }

    #[test]
    fn a_server_name_changes_the_url_but_not_the_address() {
        let with_name = |name| {
            Endpoint::parse("https://[2606:4700::1111]:8443/billing", "billing", &Guard::new())?
                .with_server_name(name)
        };
        let endpoint = with_name("billing.internal").unwrap();
        assert_eq!(endpoint.url("billing").as_str(), "https://billing.internal:8443/billing");
        assert_eq!(endpoint.dial_host(), Some("2606:4700::1111"));
        for address in ["127.0.0.1", "127.1", "0x7f000001", "[::1]", "", "a b", "x/y"] {
            let text = with_name(address).unwrap_err().to_string();
            assert!(text.starts_with("config.server_name: "), "{address}: {text}");
        }
    }

    #[test]
    fn a_wrong_endpoint_says_what_and_how_to_write_it() {
        for (bad, says) in [
            ("billing", "no URL"),
            ("ftp://example.com/x", "scheme"),
            ("http://user:hunter2@example.com/", "password"),
            ("http://example.com/?a=1", "query"),
            ("http://127.0.0.1/billing", "address guard refuses 127.0.0.1"),
        ] {
            let text = endpoint(bad).unwrap_err().to_string();
            assert!(text.starts_with("endpoint: ") && text.contains(says), "{bad}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
