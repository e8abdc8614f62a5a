//! The client side of strategy `http`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, redirect};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::call::{Call, CallService, Reply};
use crate::codec::Codec;
use crate::context::timed_out;
use crate::error::{Error, ErrorKind, Sent};
use crate::http::client::endpoint::Endpoint;
use crate::http::client::guard::{Addresses, Guard, GuardedResolver, system};
use crate::http::client::reply;
use crate::http::client::sending::Departure;
use crate::http::headers;
use crate::routes::{Route, RouteConfig, RouteError, RouteTls};
use crate::tls;
use crate::transport::backoff::{DialBackoff, DialFailure};
use crate::transport::contract::{Contracts, Encoding};
use crate::transport::health::Health;
use crate::transport::{BuildContext, Remote, Transport};

/// A dial that takes longer has failed; the deadline of the call ends it earlier.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections of one route at once. Calls over that wait for one, within their deadline: a server
/// has a limit too, and whoever is over it is reset.
const MAX_CONNECTIONS: usize = 256;

/// Idle connections are given up before our gateway (15 s) or another common server closes them
/// under a request.
const POOL_IDLE: Duration = Duration::from_secs(8);

/// Sends calls as HTTP requests: rows with `strategy = 'http'`.
///
/// Public addresses only, unless told otherwise: whoever may write a row must not thereby reach
/// this machine or its network. The address that is judged is the one that is dialled, at each
/// connect; redirects and environment proxies are off.
///
/// A route has up to 256 connections; further calls wait for one until their deadline.
///
/// Of an https endpoint the certificate is verified, by the roots of the platform unless the row
/// says otherwise: `ca_file`, `pin_sha256` (this very certificate, whatever its issuer, name and
/// dates), `insecure_tls` (anything). `server_name` asks the same address for a server of another
/// name, in the handshake and in the header `Host`. `client_cert_file` and `client_key_file` say
/// who we are. These files, and those of `file:` in `headers`, are read again within 2 s after they
/// changed.
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
    /// Checks the endpoint of a route, and makes what connects to it.
    fn client(&self, route: &Route) -> Result<(Endpoint, Client), RouteError> {
        let text =
            route.endpoint().ok_or_else(|| RouteError::endpoint("strategy http needs one"))?;
        let tls = route.config().tls();
        let endpoint = Endpoint::of_row(text, route.name().as_str(), tls, &self.guard)?;
        let client = guarded_client(&self.guard, &endpoint, tls)?;
        Ok((endpoint, client))
    }

    /// Makes a transport that reaches public addresses.
    #[must_use]
    pub fn new() -> Self {
        Self { guard: Guard::new(), forwarded_meta: Arc::default() }
    }

    /// Lets routes reach loopback and private networks too (127/8, ::1, 10/8, 172.16/12,
    /// 192.168/16, fc00::/7). Addresses where clouds serve credentials stay closed.
    #[must_use]
    pub fn allow_internal(mut self) -> Self {
        self.guard.allow_internal();
        self
    }

    /// Lets routes reach one network more.
    #[must_use]
    pub fn allow(mut self, net: IpNet) -> Self {
        self.guard.allow(net);
        self
    }

    /// Sends these metadata keys to raw services too. The other end of a typed service shares its
    /// contract and gets all metadata; a raw service can be anybody's, and gets none unless it is
    /// named here.
    #[must_use]
    pub fn forward_meta<I: IntoIterator<Item: Into<String>>>(self, keys: I) -> Self {
        Self { forwarded_meta: keys.into_iter().map(Into::into).collect(), ..self }
    }
}

/// A client for one endpoint, of whose addresses it dials those that the guard lets through.
pub(crate) fn guarded_client(
    guard: &Guard,
    endpoint: &Endpoint,
    tls: &RouteTls,
) -> Result<Client, RouteError> {
    let tls = match (endpoint.is_https(), tls.first_key()) {
        (true, _) => tls::client_config(tls, &[])?,
        (false, None) => tls::no_tls()?,
        (false, Some(key)) => {
            let text = "the endpoint is plain http, which verifies nobody; write https://, or take this key out";
            return Err(RouteError::config(key, text));
        }
    };
    let host = endpoint.dialled().map(str::to_owned);
    client(GuardedResolver { guard: guard.clone(), host, look_up: system }, tls)
}

/// A client that dials what the resolver lets through, and nothing that somebody else names: no
/// redirect, no proxy.
fn client<L>(resolver: GuardedResolver<L>, tls: rustls::ClientConfig) -> Result<Client, RouteError>
where
    L: Fn(String) -> Addresses + Send + Sync + 'static,
{
    Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(resolver))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
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
        let (files, headers) = (tls::files_digest(config.tls()), own_headers(config)?);
        let (endpoint, client) = self.client(route)?;
        let caller = Arc::new(HttpRemote {
            client,
            endpoint,
            headers: headers.clone(),
            content_type: raw_content_type(config)?,
            codec: config.codec().unwrap_or(Codec::Bincode),
            forwarded_meta: Arc::clone(&self.forwarded_meta),
            max_request: config.max_request_bytes(),
            max_reply: config.max_reply_bytes(),
            connections: Semaphore::new(MAX_CONNECTIONS),
            backoff: DialBackoff::default(),
            dialling: Arc::default(),
            health: Health::new(),
            contracts: Contracts::default(),
        });
        let (codec, watched, drifting) = (caller.codec, Arc::clone(&caller), Arc::clone(&caller));
        let service = CallService::from_fn(move |call| Arc::clone(&caller).send(call));
        let remote =
            Remote::new(service).with_codec(codec).with_state(move || watched.health.state());
        let (unverified, config) = (tls::warning(config.tls()), config.clone());
        let remote = remote.with_warnings(move || {
            unverified.iter().cloned().chain(drifting.contracts.warnings()).collect()
        });
        if !can_change(&config) {
            return Ok(remote);
        }
        let same_headers =
            move |config: &RouteConfig| own_headers(config).is_ok_and(|now| now == headers);
        Ok(remote.with_unchanged(move || {
            tls::files_digest(config.tls()) == files && same_headers(&config)
        }))
    }

    fn check(&self, route: &Route) -> Result<(), RouteError> {
        raw_content_type(route.config())?;
        self.client(route).map(drop)
    }
}

/// Says whether a row names files or secrets, so that what a route was built from can change beside
/// it.
pub(crate) fn can_change(config: &RouteConfig) -> bool {
    tls::names_files(config.tls()) || config.headers().iter().any(|(_, value)| value.is_reference())
}

pub(crate) fn own_headers(config: &RouteConfig) -> Result<HeaderMap, RouteError> {
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

fn raw_content_type(config: &RouteConfig) -> Result<HeaderValue, RouteError> {
    HeaderValue::try_from(config.content_type())
        .map_err(|_| RouteError::config("content_type", "is no content type"))
}

/// The far end of one route.
struct HttpRemote {
    client: Client,
    endpoint: Endpoint,
    headers: HeaderMap,
    content_type: HeaderValue,
    codec: Codec,
    forwarded_meta: Arc<[String]>,
    max_request: usize,
    max_reply: usize,
    /// HTTP/1.1 has a connection for each call. Calls wait for one of these.
    connections: Semaphore,
    backoff: DialBackoff,
    /// Held by the call that dials an endpoint where nobody was.
    dialling: Arc<Mutex<()>>,
    health: Health,
    contracts: Contracts,
}

impl HttpRemote {
    async fn send(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let way = self.contracts.way(&call, self.codec);
        match self.attempt(&call, &way).await {
            Err(error) if self.contracts.refused(&call, &way, &error) => {
                self.attempt(&call, &self.contracts.way(&call, self.codec)).await
            }
            result => result,
        }
    }

    /// Sends a call, and ends it at its deadline: only here is it known whether anything was sent
    /// by then.
    async fn attempt(&self, call: &Call, way: &Encoding) -> Result<Reply, Error> {
        let departure = Departure::default();
        let exchange = self.exchange(call, way, &departure);
        let Some(deadline) = call.context().deadline() else { return exchange.await };
        let ended = tokio::time::timeout_at(deadline, exchange).await;
        ended.unwrap_or_else(|_elapsed| Err(departure.judge(timed_out(call.name()))))
    }

    async fn exchange(
        &self,
        call: &Call,
        way: &Encoding,
        departure: &Departure,
    ) -> Result<Reply, Error> {
        let (codec, body) = call.encode(way.codec)?;
        if body.len() > self.max_request {
            let message = format!(
                "the request has {} bytes, the route allows {}",
                body.len(),
                self.max_request
            );
            return Err(call.failed(ErrorKind::TooLarge, message).with_sent(Sent::No));
        }
        // The semaphore is never closed; without a permit the connection would merely go uncounted.
        let _connection = self.connections.acquire().await.ok();
        self.dial_is_due(call, departure).await?;
        let began = Instant::now();
        let headers = self.headers_for(call, codec, way.contract);
        let response = self.post(call, headers, departure.body(body)).await;
        let response = response
            .map_err(|error| departure.judge(error))
            .inspect_err(|e| self.not_reached(began, e))?;
        self.backoff.reached();
        self.health.reached();
        if let Some(there) =
            response.headers().get(headers::CONTRACT).and_then(headers::read_contract)
        {
            self.contracts.answered(call, way, there);
        }
        way.judge(call, reply::read(call, codec, response, self.max_reply).await)
    }

    /// Waits until a call may connect to an endpoint that could not be reached; where connections
    /// break, it fails at once. Where nobody was there one call dials at a time, and those that
    /// wait fail with it.
    async fn dial_is_due(&self, call: &Call, departure: &Departure) -> Result<(), Error> {
        let not_there = |cause: String| call.failed(ErrorKind::Connect, cause).with_sent(Sent::No);
        if self.backoff.is_refused() {
            let asked = Instant::now();
            departure.keep(Arc::clone(&self.dialling).lock_owned().await);
            if let Some(cause) = self.backoff.failed_after(asked) {
                return Err(not_there(cause));
            }
        }
        let due = self.backoff.check().map_err(not_there)?;
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
        }
        Ok(())
    }

    fn not_reached(&self, began: Instant, error: &Error) {
        self.health.failed(error.message().into());
        let how = match error.kind() {
            ErrorKind::Connect => DialFailure::Refused,
            ErrorKind::Closed => DialFailure::Broken,
            _ => return,
        };
        self.backoff.failed_since(began, how, error.message());
    }

    async fn post(
        &self,
        call: &Call,
        headers: HeaderMap,
        body: reqwest::Body,
    ) -> Result<reqwest::Response, Error> {
        let request = self.client.post(self.endpoint.url(call.name())).headers(headers).body(body);
        request.send().await.map_err(|cause| reply::failed(call, &cause))
    }

    fn headers_for(&self, call: &Call, codec: Option<Codec>, contract: Option<u64>) -> HeaderMap {
        let mut headers = self.headers.clone();
        let content_type = codec.map(headers::content_type).map(HeaderValue::from_static);
        if let Some(accept) = &content_type {
            headers.insert(ACCEPT, accept.clone());
        }
        headers.insert(CONTENT_TYPE, content_type.unwrap_or_else(|| self.content_type.clone()));
        let context = call.context();
        let typed = call.method().is_some();
        let metas = context
            .metas()
            .filter(|(key, _)| typed || self.forwarded_meta.iter().any(|allowed| allowed == key));
        let ours = [
            (headers::CONTRACT, contract.map(headers::contract)),
            (headers::TIMEOUT_MS, context.remaining().map(headers::timeout)),
            (headers::META, headers::meta(metas)),
            (
                headers::TRACE_PARENT,
                context.trace_parent().and_then(|text| HeaderValue::try_from(text).ok()),
            ),
        ];
        for (name, value) in ours {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{ErrorKind::WouldBlock, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::name::Name;

    const CANARY: [u8; 4] = [127, 0, 0, 1];
    const SERVER: [u8; 4] = [127, 0, 0, 2];

    /// Two listeners on one port: one that must never be reached, and one that may.
    fn canary_and_server() -> (TcpListener, TcpListener, u16) {
        loop {
            let canary = TcpListener::bind(SocketAddr::from((CANARY, 0))).unwrap();
            let port = canary.local_addr().unwrap().port();
            if let Ok(server) = TcpListener::bind(SocketAddr::from((SERVER, port))) {
                canary.set_nonblocking(true).unwrap();
                return (canary, server, port);
            }
        }
    }

    /// A caller of `billing` at a port of this machine, and how often it dials.
    fn caller_at(port: u16) -> (Arc<HttpRemote>, Arc<AtomicUsize>) {
        let dials = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&dials);
        let look_up = move |_host| -> Addresses {
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::ready(Ok(vec![SocketAddr::from((CANARY, 0))])))
        };
        let mut guard = Guard::new();
        guard.allow_internal();
        let url = format!("http://billing.example:{port}/billing");
        let endpoint = Endpoint::of_row(&url, "billing", &RouteTls::default(), &guard).unwrap();
        let caller = HttpRemote {
            client: client(GuardedResolver { guard, host: None, look_up }, tls::no_tls().unwrap())
                .unwrap(),
            endpoint,
            headers: HeaderMap::new(),
            content_type: HeaderValue::from_static(headers::OCTET_STREAM),
            codec: Codec::Json,
            forwarded_meta: Arc::default(),
            max_request: usize::MAX,
            max_reply: usize::MAX,
            connections: Semaphore::new(MAX_CONNECTIONS),
            backoff: DialBackoff::default(),
            dialling: Arc::default(),
            health: Health::new(),
            contracts: Contracts::default(),
        };
        (Arc::new(caller), dials)
    }

    #[tokio::test]
    async fn where_nobody_is_one_call_dials_for_all() {
        const CALLERS: usize = 16;
        const CALLS: usize = 25;
        let call = || Call::raw(Name::from_static("billing"), "x");
        let port =
            TcpListener::bind(SocketAddr::from((CANARY, 0))).unwrap().local_addr().unwrap().port();
        let (caller, dials) = caller_at(port);
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let caller = Arc::clone(&caller);
            calls.spawn(async move {
                for _ in 0..CALLS {
                    let error = Arc::clone(&caller).send(call()).await.unwrap_err();
                    assert_eq!(
                        (error.kind(), error.sent()),
                        (ErrorKind::Connect, Sent::No),
                        "{error}"
                    );
                }
            });
        }
        calls.join_all().await;
        let refused = dials.load(Ordering::SeqCst);
        // The first of each caller were under way together, and then one dial had an answer for
        // all.
        assert!(refused <= CALLERS + 2 * CALLS, "{refused} dials for {} calls", CALLERS * CALLS);

        let server = TcpListener::bind(SocketAddr::from((CANARY, port))).unwrap();
        answer(server);
        for _ in 0..3 {
            Arc::clone(&caller).send(call()).await.expect("the server is back");
        }
        assert_eq!(dials.load(Ordering::SeqCst), refused + 3, "each found it at once");
    }

    /// Answers each connection once and closes it, so that the next request needs another look-up.
    fn answer(server: TcpListener) -> Arc<AtomicUsize> {
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        thread::spawn(move || {
            while let Ok((mut connection, _)) = server.accept() {
                let _ = connection.read(&mut [0; 4096]);
                count.fetch_add(1, Ordering::SeqCst);
                let _ =
                    connection.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
            }
        });
        served
    }

    #[tokio::test]
    async fn a_resolver_that_changes_its_mind_leads_nowhere_it_should_not() {
        let (canary, server, port) = canary_and_server();
        let served = answer(server);
        let mut guard = Guard::new();
        guard.allow("127.0.0.2/32".parse().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let answers: [&[[u8; 4]]; 4] = [&[SERVER], &[CANARY], &[CANARY, SERVER], &[SERVER, CANARY]];
        let look_up = {
            let asked = Arc::clone(&asked);
            move |_host| -> Addresses {
                let answer = answers[asked.fetch_add(1, Ordering::SeqCst) % answers.len()];
                let addresses =
                    answer.iter().map(|ip| SocketAddr::from((Ipv4Addr::from(*ip), 0))).collect();
                Box::pin(std::future::ready(Ok(addresses)))
            }
        };
        let client =
            client(GuardedResolver { guard, host: None, look_up }, tls::no_tls().unwrap()).unwrap();
        let mut outcomes = HashMap::new();
        for _ in 0..1000 {
            let response = client.post(format!("http://flips.example:{port}/")).send().await;
            *outcomes.entry(response.is_ok()).or_insert(0) += 1;
        }
        assert!(
            canary.accept().is_err_and(|error| error.kind() == WouldBlock),
            "the canary was reached"
        );
        assert_eq!(
            (outcomes[&true], outcomes[&false]),
            (750, 250),
            "only what led to the canary alone was refused"
        );
        assert_eq!((served.load(Ordering::SeqCst), asked.load(Ordering::SeqCst)), (750, 1000));
    }
}
