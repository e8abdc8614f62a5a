//! TLS of the HTTP client: by the keys of a row with the feature `https`, none without it.

#[cfg(feature = "https")]
mod with_tls {
    use reqwest::ClientBuilder;

    use crate::routes::{RouteError, RouteTls};
    use crate::tls;

    pub(crate) use crate::tls::{files_digest, names_files, warning};

    /// Lets a client verify servers by the keys of a row.
    pub(crate) fn https(
        builder: ClientBuilder,
        keys: &RouteTls,
    ) -> Result<ClientBuilder, RouteError> {
        Ok(builder.tls_backend_preconfigured(tls::client_config(keys, &[])?))
    }

    /// Spares a client the roots of the platform, which it would load otherwise.
    pub(crate) fn plain(builder: ClientBuilder) -> Result<ClientBuilder, RouteError> {
        Ok(builder.tls_backend_preconfigured(tls::no_tls()?))
    }

    /// Explains a request that got no response because of TLS. It did not run: the server did not
    /// read what was sent before it refused the client certificate.
    pub(crate) fn refusal(cause: &reqwest::Error) -> Option<String> {
        tls::cause_of(cause)
            .filter(|tls| cause.is_connect() || tls::refuses_us(tls))
            .map(tls::explain)
    }
}

#[cfg(not(feature = "https"))]
mod without_tls {
    use reqwest::ClientBuilder;

    use crate::routes::{RouteError, RouteTls};

    pub(crate) fn https(
        _builder: ClientBuilder,
        _keys: &RouteTls,
    ) -> Result<ClientBuilder, RouteError> {
        Err(RouteError::endpoint(
            "an https endpoint needs the feature `https` of connectivity-core, which this program was built without",
        ))
    }

    pub(crate) fn plain(builder: ClientBuilder) -> Result<ClientBuilder, RouteError> {
        Ok(builder)
    }

    pub(crate) const fn refusal(_cause: &reqwest::Error) -> Option<String> {
        None
    }

    // Without TLS, a row with TLS keys is refused: they need an https endpoint.

    pub(crate) const fn files_digest(_keys: &RouteTls) -> [u8; 32] {
        [0; 32]
    }

    pub(crate) const fn names_files(_keys: &RouteTls) -> bool {
        false
    }

    pub(crate) const fn warning(_keys: &RouteTls) -> Option<String> {
        None
    }
}

#[cfg(feature = "https")]
pub(crate) use with_tls::{files_digest, https, names_files, plain, refusal, warning};
#[cfg(not(feature = "https"))]
pub(crate) use without_tls::{files_digest, https, names_files, plain, refusal, warning};
