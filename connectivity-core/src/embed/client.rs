//! Client of one route: sends texts to the server in batches.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::embedding::{Embedding, Embeddings};
use super::request::{self, Request};
use super::response;
use crate::call::{Call, Reply};
use crate::codec::Codec;
use crate::context::timed_out;
use crate::error::{Error, ErrorKind, Sent};
use crate::http::client::{Departure, kind_of, read_body, send_error};
use crate::routes::RouteConfig;
use crate::transport::backoff::{DialBackoff, DialFailure};
use crate::transport::health::Health;

/// The most requests of a route that are sent at once. Servers compute one after the other anyway,
/// and limit the rate.
const MAX_CONNECTIONS: usize = 16;

/// Client of one route.
pub(super) struct EmbedClient {
    client: Client,
    url: Url,
    /// The headers of the row, and the key of the server.
    headers: HeaderMap,
    model: Option<String>,
    /// The length of a vector: that of the row, else that of the first answer.
    dimension: OnceLock<usize>,
    batch_size: usize,
    max_request: usize,
    max_reply: usize,
    connections: Semaphore,
    backoff: DialBackoff,
    pub(super) health: Health,
}

impl EmbedClient {
    pub(super) fn new(client: Client, url: Url, headers: HeaderMap, config: &RouteConfig) -> Self {
        Self {
            client,
            url,
            headers,
            model: config.model.clone(),
            dimension: config.dimension.map_or_else(OnceLock::new, OnceLock::from),
            batch_size: config.batch_size,
            max_request: config.max_request_bytes,
            max_reply: config.max_reply_bytes,
            connections: Semaphore::new(MAX_CONNECTIONS),
            backoff: DialBackoff::default(),
            health: Health::new(),
        }
    }

    /// Sends a call and enforces its deadline. The deadline is enforced here, because only here it
    /// is known whether anything was sent by then.
    pub(super) async fn send(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let departure = Departure::default();
        let exchange = self.exchange(&call, &departure);
        let Some(deadline) = call.context().deadline() else { return exchange.await };
        let ended = tokio::time::timeout_at(deadline, exchange).await;
        ended.unwrap_or_else(|_elapsed| Err(departure.judge(timed_out(call.name()))))
    }

    async fn exchange(&self, call: &Call, first: &Departure) -> Result<Reply, Error> {
        let request = texts(call)?;
        let mut vectors = Vec::with_capacity(request.texts().len());
        let mut room = self.max_reply;
        for batch in request.texts().chunks(self.batch_size) {
            let is_first = vectors.is_empty();
            let departure = if is_first { first.clone() } else { Departure::default() };
            let answer = self.batch(call, batch, room, &departure).await;
            // What was sent before stays sent.
            let answer = answer.map_err(|error| match is_first {
                true => error,
                false => error.with_sent(Sent::Maybe),
            })?;
            room = room.saturating_sub(answer.len());
            vectors.extend(self.read(call, &answer, batch.len())?);
        }
        reply(call, &request, vectors, self.model.as_deref().unwrap_or_default())
    }

    /// Sends one batch and returns the body of the answer.
    async fn batch(
        &self,
        call: &Call,
        batch: &[String],
        room: usize,
        departure: &Departure,
    ) -> Result<Bytes, Error> {
        let failed =
            |kind, cause: &dyn std::fmt::Display| call.failed(kind, cause).with_sent(Sent::No);
        let body = request::body(self.model.as_deref(), batch)
            .map_err(|cause| failed(ErrorKind::Encode, &cause))?;
        if body.len() > self.max_request {
            let (length, limit) = (body.len(), self.max_request);
            let text = format_args!(
                "a batch has {length} bytes, the route allows {limit}: set `batch_size` lower"
            );
            return Err(failed(ErrorKind::TooLarge, &text));
        }
        // The semaphore is never closed.
        let _connection = self.connections.acquire().await.ok();
        if let Some(due) =
            self.backoff.check().map_err(|cause| failed(ErrorKind::Connect, &cause))?
        {
            tokio::time::sleep_until(due).await;
        }
        let began = Instant::now();
        let request = self.client.post(self.url.clone()).headers(self.headers.clone());
        let response = request
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(departure.body(body))
            .send()
            .await
            .map_err(|cause| departure.judge(send_error(call, &cause)))
            .inspect_err(|error| self.record_failure(began, error))?;
        self.backoff.reached();
        self.health.reached();
        match response.status() {
            StatusCode::OK => read_body(call, response, room).await,
            status => Err(refusal(call, status)),
        }
    }

    fn record_failure(&self, began: Instant, error: &Error) {
        self.health.failed(error.message().to_owned());
        let failure = match error.kind() {
            ErrorKind::Connect => DialFailure::Refused,
            ErrorKind::Closed => DialFailure::Broken,
            _ => return,
        };
        self.backoff.failed_since(began, failure, error.message());
    }

    /// Reads the vectors of an answer, which must be as long as all others of the route.
    fn read(&self, call: &Call, answer: &[u8], count: usize) -> Result<Vec<Vec<f32>>, Error> {
        let failed = |cause: String| call.failed(ErrorKind::Decode, cause).with_sent(Sent::Yes);
        let vectors = response::read(answer, count)
            .map_err(|cause| failed(format!("the answer of the embedding server: {cause}")))?;
        for vector in &vectors {
            let expected = *self.dimension.get_or_init(|| vector.len());
            if vector.len() != expected {
                let length = vector.len();
                return Err(failed(format!(
                    "the embedding server computed a vector of {length} numbers, where the row, or its first answer, has {expected}"
                )));
            }
        }
        Ok(vectors)
    }
}

/// Returns the texts of a call.
pub(super) fn texts(call: &Call) -> Result<Request, Error> {
    let (_, json) = call.encode(Codec::Json)?;
    Request::parse(&json).map_err(|cause| call.failed(ErrorKind::Decode, cause).with_sent(Sent::No))
}

/// Returns the reply to a call.
pub(super) fn reply(
    call: &Call,
    request: &Request,
    mut vectors: Vec<Vec<f32>>,
    model: &str,
) -> Result<Reply, Error> {
    let json = match request {
        Request::One(_) => response::one(&Embedding::new(vectors.pop().unwrap_or_default(), model)),
        Request::Many(_) => {
            let embeddings = Embeddings::new(vectors, model)?;
            match call.method() {
                Some(_) => Codec::Json.encode(&embeddings),
                None => response::many(&embeddings),
            }
        }
    };
    let json = json.map_err(|cause| call.failed(ErrorKind::Encode, cause).with_sent(Sent::Yes))?;
    Ok(match call.method() {
        Some(_) => Reply::encoded(Codec::Json, json, false),
        None => Reply::raw(json),
    })
}

/// Returns the error of a status that is not 200. The text of the server is left out: some quote the
/// key, and some the texts.
fn refusal(call: &Call, status: StatusCode) -> Error {
    let kind = kind_of(status);
    let error =
        call.failed(kind, format_args!("the embedding server answered with status {status}"));
    // A server that is asked too often has computed nothing.
    error.with_sent(if kind == ErrorKind::Overloaded { Sent::No } else { Sent::Maybe })
}
