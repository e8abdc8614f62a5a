//! Client of one route: sends its calls as requests and reads the responses.

use std::sync::Arc;

use reqwest::Client;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::reply;
use super::sending::Departure;
use crate::call::{Call, CallService, Reply};
use crate::codec::Codec;
use crate::context::timed_out;
use crate::error::{Error, ErrorKind, Sent};
use crate::http::headers;
use crate::routes::{RouteConfig, RouteError};
use crate::transport::Remote;
use crate::transport::backoff::{DialBackoff, DialFailure};
use crate::transport::contract::{Contracts, Encoding};
use crate::transport::health::Health;

/// The most connections of one route. Further calls wait for one, within their deadline: servers
/// have a limit too, and reset connections over it.
const MAX_CONNECTIONS: usize = 256;

/// Client of one route.
pub(super) struct HttpRemote {
    client: Client,
    endpoint: Endpoint,
    headers: HeaderMap,
    content_type: HeaderValue,
    codec: Codec,
    forwarded_meta: Arc<[String]>,
    max_request: usize,
    max_reply: usize,
    /// Permits for connections: HTTP/1.1 needs one per concurrent call.
    connections: Semaphore,
    backoff: DialBackoff,
    /// Held by the call that dials, while no connection to the endpoint can be established.
    dial_lock: Arc<Mutex<()>>,
    health: Health,
    contracts: Contracts,
}

impl HttpRemote {
    /// Creates the client of a row.
    ///
    /// # Errors
    /// Returns an error if `content_type` is not valid in a header.
    pub(super) fn new(
        config: &RouteConfig,
        (endpoint, client): (Endpoint, Client),
        headers: HeaderMap,
        forwarded_meta: Arc<[String]>,
    ) -> Result<Self, RouteError> {
        Ok(Self {
            client,
            endpoint,
            headers,
            content_type: content_type(config)?,
            codec: config.codec.unwrap_or(Codec::Bincode),
            forwarded_meta,
            max_request: config.max_request_bytes,
            max_reply: config.max_reply_bytes,
            connections: Semaphore::new(MAX_CONNECTIONS),
            backoff: DialBackoff::default(),
            dial_lock: Arc::default(),
            health: Health::new(),
            contracts: Contracts::default(),
        })
    }

    /// Wraps the client as the remote of its route, with its state and its warnings.
    pub(super) fn into_remote(self, unverified: Option<String>) -> Remote {
        let (codec, sender) = (self.codec, Arc::new(self));
        let (for_state, for_warnings) = (Arc::clone(&sender), Arc::clone(&sender));
        let service = CallService::from_fn(move |call| Arc::clone(&sender).send(call));
        Remote::new(service)
            .with_codec(codec)
            .with_state(move || for_state.health.state())
            .with_warnings(move || {
                unverified.iter().cloned().chain(for_warnings.contracts.warnings()).collect()
            })
    }

    async fn send(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let encoding = self.contracts.encoding(&call, self.codec);
        match self.attempt(&call, &encoding).await {
            Err(error) if self.contracts.record_refusal(&call, &encoding, &error) => {
                self.attempt(&call, &self.contracts.encoding(&call, self.codec)).await
            }
            result => result,
        }
    }

    /// Sends a call and enforces its deadline. The deadline is enforced here, because only here it
    /// is known whether anything was sent by then.
    async fn attempt(&self, call: &Call, encoding: &Encoding) -> Result<Reply, Error> {
        let departure = Departure::default();
        let exchange = self.exchange(call, encoding, &departure);
        let Some(deadline) = call.context().deadline() else { return exchange.await };
        let ended = tokio::time::timeout_at(deadline, exchange).await;
        ended.unwrap_or_else(|_elapsed| Err(departure.judge(timed_out(call.name()))))
    }

    async fn exchange(
        &self,
        call: &Call,
        encoding: &Encoding,
        departure: &Departure,
    ) -> Result<Reply, Error> {
        let (codec, body) = call.encode(encoding.codec)?;
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
        self.wait_for_dial(call, departure).await?;
        let started = Instant::now();
        let headers = self.headers_for(call, codec, encoding.contract);
        let response = self.post(call, headers, departure.body(body)).await;
        let response = response
            .map_err(|error| departure.judge(error))
            .inspect_err(|e| self.record_failure(started, e))?;
        self.backoff.reached();
        self.health.reached();
        if let Some(fingerprint) =
            response.headers().get(headers::CONTRACT).and_then(headers::read_contract)
        {
            self.contracts.record_fingerprint(call, encoding, fingerprint);
        }
        encoding.annotate(call, reply::read(call, codec, response, self.max_reply).await)
    }

    /// Backoff: waits until a call may dial an endpoint that could not be reached. Fails at once if
    /// its connections break. If no connection can be established, one call dials at a time, and
    /// those that wait fail together with it.
    async fn wait_for_dial(&self, call: &Call, departure: &Departure) -> Result<(), Error> {
        let unreachable =
            |cause: String| call.failed(ErrorKind::Connect, cause).with_sent(Sent::No);
        if self.backoff.is_refused() {
            let queued = Instant::now();
            departure.hold(Arc::clone(&self.dial_lock).lock_owned().await);
            if let Some(cause) = self.backoff.failed_after(queued) {
                return Err(unreachable(cause));
            }
        }
        let due = self.backoff.check().map_err(unreachable)?;
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
        }
        Ok(())
    }

    fn record_failure(&self, started: Instant, error: &Error) {
        self.health.failed(error.message().into());
        let failure = match error.kind() {
            ErrorKind::Connect => DialFailure::Refused,
            ErrorKind::Closed => DialFailure::Broken,
            _ => return,
        };
        self.backoff.failed_since(started, failure, error.message());
    }

    async fn post(
        &self,
        call: &Call,
        headers: HeaderMap,
        body: reqwest::Body,
    ) -> Result<reqwest::Response, Error> {
        let request = self.client.post(self.endpoint.url(call.name())).headers(headers).body(body);
        request.send().await.map_err(|cause| reply::send_error(call, &cause))
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
        let own = [
            (headers::CONTRACT, contract.map(headers::contract)),
            (headers::TIMEOUT_MS, context.remaining().map(headers::timeout)),
            (headers::META, headers::meta(metas)),
            (
                headers::TRACE_PARENT,
                context.trace_parent().and_then(|text| HeaderValue::try_from(text).ok()),
            ),
        ];
        for (name, value) in own {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        headers
    }
}

/// Returns the `Content-Type` of the requests of a raw service.
pub(super) fn content_type(config: &RouteConfig) -> Result<HeaderValue, RouteError> {
    HeaderValue::try_from(config.content_type.as_str())
        .map_err(|_| RouteError::config("content_type", "is no content type"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{ErrorKind::WouldBlock, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::http::client::guard::{Addresses, Guard, GuardedResolver};
    use crate::http::client::{security, transport};
    use crate::name::Name;
    use crate::routes::{RouteTls, Strategy};

    const CANARY: [u8; 4] = [127, 0, 0, 1];
    const SERVER: [u8; 4] = [127, 0, 0, 2];

    /// Binds two listeners on one port: one that must never be reached, and one that may.
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

    fn plain_client<L>(resolver: GuardedResolver<L>) -> Client
    where
        L: Fn(String) -> Addresses + Send + Sync + 'static,
    {
        transport::build(security::plain(transport::builder(resolver)).unwrap()).unwrap()
    }

    /// Returns a client of `billing` at a local port, and a counter of its dials.
    fn remote_at(port: u16) -> (Arc<HttpRemote>, Arc<AtomicUsize>) {
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
        let resolver = GuardedResolver { guard, host: None, look_up };
        let client = plain_client(resolver);
        let strategy = Strategy::parse("http").unwrap();
        let config = RouteConfig::parse(r#"{"codec":"json"}"#, &strategy).unwrap();
        let remote =
            HttpRemote::new(&config, (endpoint, client), HeaderMap::new(), Arc::default()).unwrap();
        (Arc::new(remote), dials)
    }

    #[tokio::test]
    async fn where_nobody_is_one_call_dials_for_all() {
        const CALLERS: usize = 16;
        const CALLS: usize = 25;
        let call = || Call::raw(Name::from_static("billing"), "x");
        let port =
            TcpListener::bind(SocketAddr::from((CANARY, 0))).unwrap().local_addr().unwrap().port();
        let (remote, dials) = remote_at(port);
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let remote = Arc::clone(&remote);
            calls.spawn(async move {
                for _ in 0..CALLS {
                    let error = Arc::clone(&remote).send(call()).await.unwrap_err();
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
        // The first calls of all callers dialled concurrently; after that one dial had a result for
        // all.
        assert!(refused <= CALLERS + 2 * CALLS, "{refused} dials for {} calls", CALLERS * CALLS);

        let server = TcpListener::bind(SocketAddr::from((CANARY, port))).unwrap();
        serve(server);
        for _ in 0..3 {
            Arc::clone(&remote).send(call()).await.expect("the server is back");
        }
        assert_eq!(dials.load(Ordering::SeqCst), refused + 3, "each found it at once");
    }

    /// Sends one response per connection and closes it, so that the next request needs another
    /// look-up.
    fn serve(server: TcpListener) -> Arc<AtomicUsize> {
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
        let served = serve(server);
        let mut guard = Guard::new();
        guard.allow("127.0.0.2/32".parse().unwrap());
        let lookups = Arc::new(AtomicUsize::new(0));
        let answers: [&[[u8; 4]]; 4] = [&[SERVER], &[CANARY], &[CANARY, SERVER], &[SERVER, CANARY]];
        let look_up = {
            let lookups = Arc::clone(&lookups);
            move |_host| -> Addresses {
                let answer = answers[lookups.fetch_add(1, Ordering::SeqCst) % answers.len()];
                let addresses =
                    answer.iter().map(|ip| SocketAddr::from((Ipv4Addr::from(*ip), 0))).collect();
                Box::pin(std::future::ready(Ok(addresses)))
            }
        };
        let client = plain_client(GuardedResolver { guard, host: None, look_up });
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
        assert_eq!((served.load(Ordering::SeqCst), lookups.load(Ordering::SeqCst)), (750, 1000));
    }
}
