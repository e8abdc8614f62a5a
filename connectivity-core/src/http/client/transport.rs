//! Client side of strategy `http`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::{Client, ClientBuilder, redirect};

use super::endpoint::Endpoint;
use super::guard::{Addresses, Guard, GuardedResolver, system};
use super::inputs::BuildInputs;
use super::remote::{self, HttpRemote};
use super::{reply, security};
use crate::routes::{Route, RouteError, RouteTls};
use crate::transport::{BuildContext, Remote, Transport};

/// The timeout of a dial; the deadline of the call may end it earlier.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long idle connections are kept: shorter than our gateway (15 s) and other common servers
/// keep them, so that none is closed under a request.
const POOL_IDLE: Duration = Duration::from_secs(8);

/// Sends calls as HTTP requests, for rows with `strategy = 'http'`.
///
/// By default only public addresses can be reached: write access to rows must not give access to
/// this machine or its network. The check applies to the address that is dialled, at each connect;
/// redirects and environment proxies are disabled. A router whose program sets no transport for
/// `http` reaches loopback and private networks too if the environment variable
/// `CONNECTIVITY_ALLOW_INTERNAL` is 1. For development, `.cargo/config.toml` can set it.
///
/// A route has up to 256 connections; further calls wait for one until their deadline.
///
/// An https endpoint needs the feature `https`, a default. Its certificate is verified by the roots of the platform unless the row
/// says otherwise: `ca_file`, `pin_sha256` (this very certificate, whatever its issuer, name and
/// dates), `insecure_tls` (anything). `server_name` is the name to ask for at the same address, in
/// the handshake and in the header `Host`. `client_cert_file` and `client_key_file` are the
/// client's certificate and key. These files, and those of `file:` in `headers`, are read again
/// within 2 s after they changed.
///
/// ```
/// use connectivity_core::HttpTransport;
///
/// let on_premises = HttpTransport::new().allow_internal();
/// let one_network = HttpTransport::new().allow("10.20.0.0/16".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HttpTransport {
    guard: Guard,
    forwarded_meta: Arc<[String]>,
}

impl HttpTransport {
    /// Validates the endpoint of a route, and builds the HTTP client for it.
    fn client(&self, route: &Route) -> Result<(Endpoint, Client), RouteError> {
        let text =
            route.endpoint().ok_or_else(|| RouteError::endpoint("strategy http needs one"))?;
        let tls = &route.config().tls;
        let endpoint = Endpoint::of_row(text, route.name().as_str(), tls, &self.guard)?;
        let client = guarded_client(&self.guard, &endpoint, tls)?;
        Ok((endpoint, client))
    }

    /// Creates a transport that reaches public addresses only.
    #[must_use]
    pub fn new() -> Self {
        Self { guard: Guard::new(), forwarded_meta: Arc::default() }
    }

    /// Returns the transport of a router that names none: the environment may open networks.
    pub(crate) fn of_environment() -> Self {
        Self { guard: Guard::of_environment(), ..Self::new() }
    }

    /// Allows routes to reach loopback and private networks too (127/8, ::1, 10/8, 172.16/12,
    /// 192.168/16, fc00::/7). Addresses where clouds serve credentials stay refused.
    #[must_use]
    pub fn allow_internal(mut self) -> Self {
        self.guard.allow_internal();
        self
    }

    /// Allows routes to reach one more network.
    #[must_use]
    pub fn allow(mut self, net: IpNet) -> Self {
        self.guard.allow(net);
        self
    }

    /// Sends these metadata keys to raw services too. The server of a typed service shares its
    /// contract and gets all metadata; a raw service can be any server, and gets only the keys
    /// named here.
    #[must_use]
    pub fn forward_meta<I: IntoIterator<Item: Into<String>>>(self, keys: I) -> Self {
        Self { forwarded_meta: keys.into_iter().map(Into::into).collect(), ..self }
    }
}

/// Builds the HTTP client of one endpoint, which dials only addresses that the guard allows.
pub(crate) fn guarded_client(
    guard: &Guard,
    endpoint: &Endpoint,
    tls: &RouteTls,
) -> Result<Client, RouteError> {
    if let Some(key) = tls.first_key().filter(|_| !endpoint.is_https()) {
        let text = "the endpoint is plain http, which verifies nobody; write https://, or take this key out";
        return Err(RouteError::config(key, text));
    }
    let host = endpoint.dial_host().map(str::to_owned);
    let builder = builder(GuardedResolver { guard: guard.clone(), host, look_up: system });
    build(match endpoint.is_https() {
        true => security::https(builder, tls)?,
        false => security::plain(builder)?,
    })
}

/// Returns the builder of an HTTP client that dials only what its resolver returns: no redirects, no
/// proxy.
pub(super) fn builder<L>(resolver: GuardedResolver<L>) -> ClientBuilder
where
    L: Fn(String) -> Addresses + Send + Sync + 'static,
{
    Client::builder()
        .dns_resolver(Arc::new(resolver))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
}

pub(super) fn build(builder: ClientBuilder) -> Result<Client, RouteError> {
    builder
        .build()
        .map_err(|cause| RouteError::new(format_args!("no HTTP client: {}", reply::chain(&cause))))
}

impl Default for HttpTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("forwarded_meta", &self.forwarded_meta)
            .finish_non_exhaustive()
    }
}

impl Transport for HttpTransport {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let config = route.config();
        let inputs = BuildInputs::read(config)?;
        let (endpoint, client) = self.client(route)?;
        let headers = inputs.headers().clone();
        let forwarded_meta = Arc::clone(&self.forwarded_meta);
        let remote = HttpRemote::new(config, (endpoint, client), headers, forwarded_meta)?;
        let remote = remote.into_remote(security::warning(&config.tls));
        Ok(inputs.watch(remote, config))
    }

    fn check(&self, route: &Route) -> Result<(), RouteError> {
        remote::content_type(route.config())?;
        self.client(route).map(drop)
    }
}
