//! Builds the routes of the strategy.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::client::{self, EmbedClient};
use crate::call::{Call, CallService, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::http::client::guard::Guard;
use crate::http::client::{
    BuildInputs, Endpoint, guarded_client, refers_to_files, unverified_warning,
};
use crate::routes::{Route, RouteConfig, RouteError};
use crate::transport::{BuildContext, Remote, Transport};

/// The path of the API below the endpoint of a row.
const PATH: &str = "/v1/embeddings";

/// The length of the zero vectors of a row without an endpoint, if the row names none.
const ZEROS: usize = 768;

/// Sends texts to an embedding server, for rows with `strategy = 'embed'`.
///
/// Calls are those of an [`Embedder`](super::Embedder), or raw calls with the JSON of the original Go
/// package. By default only public addresses can be reached, as with
/// [`HttpTransport`](crate::HttpTransport). A row without an endpoint answers with zeros, and
/// `inspect` warns of it.
///
/// ```
/// use connectivity_core::embed::EmbedTransport;
///
/// let on_premises = EmbedTransport::new().allow_internal();
/// ```
#[derive(Clone)]
pub struct EmbedTransport {
    guard: Guard,
}

impl EmbedTransport {
    /// Creates a transport that reaches public addresses only.
    #[must_use]
    pub fn new() -> Self {
        Self { guard: Guard::new() }
    }

    /// Returns the transport of a router that names none: the environment may open networks.
    pub(crate) fn of_environment() -> Self {
        Self { guard: Guard::of_environment() }
    }

    /// Allows routes to reach loopback and private networks too; see
    /// [`HttpTransport::allow_internal`](crate::HttpTransport::allow_internal).
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

    /// Validates the endpoint of a route, and builds the HTTP client and the URL for it.
    fn client(&self, endpoint: &str, route: &Route) -> Result<(reqwest::Client, Url), RouteError> {
        let (name, tls) = (route.name().as_str(), &route.config().tls);
        let endpoint = Endpoint::of_row(endpoint, name, tls, &self.guard)?;
        let mut url = endpoint.url(name);
        url.set_path(&format!("{}{PATH}", url.path().trim_end_matches('/')));
        Ok((guarded_client(&self.guard, &endpoint, tls)?, url))
    }
}

impl Default for EmbedTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EmbedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedTransport").finish_non_exhaustive()
    }
}

impl Transport for EmbedTransport {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let config = route.config();
        let Some(endpoint) = route.endpoint() else { return Ok(zeros(config)) };
        let inputs = Inputs::read(config)?;
        let (client, url) = self.client(endpoint, route)?;
        let sender = Arc::new(EmbedClient::new(client, url, inputs.headers()?, config));
        let for_state = Arc::clone(&sender);
        let service = CallService::from_fn(move |call| Arc::clone(&sender).send(call));
        let unverified = unverified_warning(&config.tls);
        let remote = Remote::new(service)
            .with_codec(Codec::Json)
            .with_state(move || for_state.health.state())
            .with_warnings(move || unverified.iter().cloned().collect());
        Ok(inputs.watch(remote, config))
    }

    fn check(&self, route: &Route) -> Result<(), RouteError> {
        route.endpoint().map_or(Ok(()), |endpoint| self.client(endpoint, route).map(drop))
    }

    fn check_calls(&self, _route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
        let Some(contract) = context.contract() else { return Ok(()) };
        let takes_texts = |arguments: &[&str]| matches!(arguments, ["text"] | ["texts"]);
        if contract.methods().iter().any(|method| takes_texts(method.arguments())) {
            return Ok(());
        }
        Err(RouteError::new(format_args!(
            "strategy embed serves an `Embedder`, and `{}` has no method with the argument `text` or `texts`",
            contract.name()
        )))
    }
}

/// What a route was built from beyond its row.
#[derive(PartialEq)]
struct Inputs {
    base: BuildInputs,
    key: Option<String>,
}

impl Inputs {
    fn read(config: &RouteConfig) -> Result<Self, RouteError> {
        let key = config.api_key.as_ref().map(|reference| reference.resolve()).transpose();
        let key = key.map_err(|cause| RouteError::config("api_key", cause))?;
        Ok(Self { base: BuildInputs::read(config)?, key })
    }

    /// Returns the headers of each request.
    fn headers(&self) -> Result<HeaderMap, RouteError> {
        let mut headers = self.base.headers().clone();
        if let Some(key) = &self.key {
            let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| {
                RouteError::config("api_key", "the key has bytes that a header cannot hold")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    /// Lets the router rebuild `remote` once the key, a file or a secret differs from what was read.
    fn watch(self, remote: Remote, config: &RouteConfig) -> Remote {
        if config.api_key.is_none() && !refers_to_files(config) {
            return remote;
        }
        let config = config.clone();
        remote.with_unchanged(move || Self::read(&config).is_ok_and(|now| now == self))
    }
}

/// Returns the remote of a row without an endpoint.
fn zeros(config: &RouteConfig) -> Remote {
    let dimension = config.dimension.unwrap_or(ZEROS);
    let (model, limit) = (config.model.clone().unwrap_or_default(), config.max_reply_bytes);
    let answer = move |call: Call| -> Result<Reply, Error> {
        let request = client::texts(&call)?;
        let count = request.texts().len();
        if count.saturating_mul(dimension).saturating_mul(size_of::<f32>()) > limit {
            let text = format_args!("{count} vectors of {dimension} zeros are over {limit} bytes");
            return Err(call.failed(ErrorKind::TooLarge, text).with_sent(Sent::No));
        }
        client::reply(&call, &request, vec![vec![0.0; dimension]; count], &model)
    };
    let service = CallService::from_fn(move |call| std::future::ready(answer(call)));
    let warning = format!("the row has no endpoint: every text gets {dimension} zeros");
    Remote::new(service).with_codec(Codec::Json).with_warnings(move || vec![warning.clone()])
}
