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
use crate::transport::Remote;
use crate::transport::backoff::{DialBackoff, DialFailure};
use crate::transport::contract::{Contracts, Encoding};
use crate::transport::health::Health;

/// Connections of one route at once. Calls over that wait for one, within their deadline: a server
/// has a limit too, and whoever is over it is reset.
pub(super) const MAX_CONNECTIONS: usize = 256;

/// Client of one route.
pub(super) struct HttpRemote {
    pub(super) client: Client,
    pub(super) endpoint: Endpoint,
    pub(super) headers: HeaderMap,
    pub(super) content_type: HeaderValue,
    pub(super) codec: Codec,
    pub(super) forwarded_meta: Arc<[String]>,
    pub(super) max_request: usize,
    pub(super) max_reply: usize,
    /// HTTP/1.1 has a connection for each call. Calls wait for one of these.
    pub(super) connections: Semaphore,
    pub(super) backoff: DialBackoff,
    /// Held by the call that dials an endpoint where nobody was.
    pub(super) dialling: Arc<Mutex<()>>,
    pub(super) health: Health,
    pub(super) contracts: Contracts,
}

impl HttpRemote {
    /// Wraps it as the remote of its route, with its state and its warnings.
    pub(super) fn into_remote(self, unverified: Option<String>) -> Remote {
        let (codec, sender) = (self.codec, Arc::new(self));
        let (watched, drifting) = (Arc::clone(&sender), Arc::clone(&sender));
        let service = CallService::from_fn(move |call| Arc::clone(&sender).send(call));
        Remote::new(service)
            .with_codec(codec)
            .with_state(move || watched.health.state())
            .with_warnings(move || {
                unverified.iter().cloned().chain(drifting.contracts.warnings()).collect()
            })
    }

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
    use crate::http::client::guard::{Addresses, Guard, GuardedResolver};
    use crate::http::client::transport::client;
    use crate::name::Name;
    use crate::routes::RouteTls;
    use crate::tls;

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
