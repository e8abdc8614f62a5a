//! HTTP requests of a session. rmcp's own client reports neither when a request starts to be sent
//! nor the status of a refusal. The error of a failed call depends on both.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use http_body::{Body, Frame};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorData, GetExtensions, JsonRpcRequest, RequestId,
    ServerJsonRpcMessage,
};
use rmcp::transport::streamable_http_client::{
    HttpStatusError, SseError, StreamableHttpClient, StreamableHttpError,
    StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use sse_stream::{Sse, SseStream};

use super::ticket::{HttpRefusal, Ticket};
use crate::http::client::sent_of;

const JSON_TYPE: &str = "application/json";
const EVENT_STREAM_TYPE: &str = "text/event-stream";
const SESSION_HEADER: &str = "mcp-session-id";

/// Maximum bytes to read of a refusal.
const MAX_REFUSAL: usize = 64 * 1024;

/// HTTP client for the requests of a session.
#[derive(Clone)]
pub(super) struct Requests(pub(super) Client);

type HttpError = StreamableHttpError<reqwest::Error>;
type PostResult = Result<StreamableHttpPostResponse, HttpError>;

impl StreamableHttpClient for Requests {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> PostResult {
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(uri, message, session, token, headers, limits).await
    }

    /// Ignores the token: a row has its token among the headers.
    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> PostResult {
        let info = RequestInfo::of(&message, session.is_some());
        let departure =
            info.ticket.as_ref().map(|ticket| ticket.departure.clone()).unwrap_or_default();
        let body = departure.body(serde_json::to_vec(&message)?.into());
        let request = self
            .0
            .post(&*uri)
            .header(ACCEPT, [EVENT_STREAM_TYPE, JSON_TYPE].join(", "))
            .header(CONTENT_TYPE, JSON_TYPE);
        let mut request = request.headers(HeaderMap::from_iter(headers)).body(body);
        if let Some(session) = session {
            request = request.header(SESSION_HEADER, &*session);
        }
        info.read_response(request.send().await?, limits).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), HttpError> {
        self.0.delete_session(uri, session, token, headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, HttpError> {
        self.0.get_stream(uri, session, last_event, token, headers).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        limit: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, HttpError> {
        self.0
            .get_stream_with_max_sse_event_size(uri, session, last_event, token, headers, limit)
            .await
    }
}

/// Properties of a sent message that are needed to read its response.
struct RequestInfo {
    /// Id of a request. Responses to other messages are ignored.
    id: Option<RequestId>,
    /// Whether the request is `server/discover`, which older servers refuse.
    is_discover: bool,
    ticket: Option<Arc<Ticket>>,
    in_session: bool,
}

impl RequestInfo {
    fn of(message: &ClientJsonRpcMessage, in_session: bool) -> Self {
        let ClientJsonRpcMessage::Request(JsonRpcRequest { id, request, .. }) = message else {
            return Self { id: None, is_discover: false, ticket: None, in_session };
        };
        let is_discover = matches!(request, ClientRequest::DiscoverRequest(_));
        Self {
            id: Some(id.clone()),
            is_discover,
            ticket: request.extensions().get().cloned(),
            in_session,
        }
    }

    async fn read_response(
        self,
        response: Response,
        limits: StreamableHttpResponseLimits,
    ) -> PostResult {
        match response.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                Ok(StreamableHttpPostResponse::Accepted)
            }
            StatusCode::NOT_FOUND if self.in_session => Err(StreamableHttpError::SessionExpired),
            status if status.is_success() => self.read_success(response, limits).await,
            status => self.read_refusal(status, response).await,
        }
    }

    async fn read_success(
        self,
        response: Response,
        limits: StreamableHttpResponseLimits,
    ) -> PostResult {
        let session = response
            .headers()
            .get(SESSION_HEADER)
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        if is_of_type(&response, EVENT_STREAM_TYPE) {
            let events = BoundedEvents {
                body: response.into(),
                limit: limits.max_sse_event_size,
                event_bytes: 0,
                line_bytes: 0,
                after_cr: false,
            };
            return Ok(StreamableHttpPostResponse::Sse(Box::pin(SseStream::new(events)), session));
        }
        let Some(id) = self.id else { return Ok(StreamableHttpPostResponse::Accepted) };
        if !is_of_type(&response, JSON_TYPE) {
            return Err(StreamableHttpError::UnexpectedContentType(None));
        }
        let message = match serde_json::from_slice(
            &read_body(response, limits.max_json_response_size).await?,
        )? {
            // A server that cannot parse a request cannot name its id either.
            ServerJsonRpcMessage::Error(error) if error.id.is_none() => {
                ServerJsonRpcMessage::error(error.error, Some(id))
            }
            message => message,
        };
        Ok(StreamableHttpPostResponse::Json(message, session))
    }

    /// Reads a refusal. A JSON-RPC error in it belongs to this request, whatever its id.
    async fn read_refusal(self, status: StatusCode, response: Response) -> PostResult {
        let (in_session, sent) = (self.in_session, sent_of(response.headers()));
        if let Some(ticket) = &self.ticket {
            ticket.set_refusal(HttpRefusal { status, in_session, sent });
        }
        let failure = Err(HttpStatusError::new(status.as_u16(), None).into());
        if matches!(status.as_u16(), 401 | 403 | 429) {
            return failure;
        }
        let error =
            if is_of_type(&response, JSON_TYPE) { read_error(response).await } else { None };
        match (self.id, error) {
            (None, Some(_)) => Ok(StreamableHttpPostResponse::Accepted),
            (Some(id), Some(error)) => Ok(error_response(id, error)),
            (Some(id), None) if self.is_discover && !in_session && status.is_client_error() => {
                Ok(error_response(id, ErrorData::invalid_request(format!("status {status}"), None)))
            }
            (_, None) => failure,
        }
    }
}

fn error_response(id: RequestId, error: ErrorData) -> StreamableHttpPostResponse {
    StreamableHttpPostResponse::Json(ServerJsonRpcMessage::error(error, Some(id)), None)
}

/// Returns whether a response has a media type, ignoring its parameters.
fn is_of_type(response: &Response, expected: &str) -> bool {
    let name = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = name.and_then(|name| name.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(expected))
}

async fn read_error(response: Response) -> Option<ErrorData> {
    let bytes = read_body(response, MAX_REFUSAL).await.ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        ServerJsonRpcMessage::Error(error) => Some(error.error),
        _ => None,
    }
}

async fn read_body(mut response: Response, limit: usize) -> Result<Bytes, HttpError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > limit - body.len() {
            return Err(StreamableHttpError::ResponseBodyTooLarge { max_size: limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Event stream that limits the size of each event: its reader buffers an event until it is
/// complete.
struct BoundedEvents {
    body: reqwest::Body,
    limit: usize,
    /// Bytes of the current event.
    event_bytes: usize,
    /// Bytes of the current line.
    line_bytes: usize,
    /// Whether the last byte was a CR: an LF after it is part of the same line ending.
    after_cr: bool,
}

#[derive(Debug, thiserror::Error)]
enum EventError {
    #[error(transparent)]
    Body(#[from] reqwest::Error),
    #[error("an event is over {0} bytes")]
    TooLong(usize),
}

impl BoundedEvents {
    /// Counts the bytes of a chunk and returns whether every event is within the limit. An empty
    /// line ends an event.
    fn within_limit(&mut self, chunk: &[u8]) -> bool {
        chunk.iter().all(|byte| {
            if std::mem::replace(&mut self.after_cr, *byte == b'\r') && *byte == b'\n' {
                return true;
            }
            let ends_line = matches!(byte, b'\n' | b'\r');
            self.event_bytes =
                if ends_line && self.line_bytes == 0 { 0 } else { self.event_bytes + 1 };
            self.line_bytes = if ends_line { 0 } else { self.line_bytes + 1 };
            self.event_bytes <= self.limit
        })
    }
}

impl Body for BoundedEvents {
    type Data = Bytes;
    type Error = EventError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EventError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
        let within_limit =
            frame.as_ref().and_then(Frame::data_ref).is_none_or(|chunk| self.within_limit(chunk));
        Poll::Ready(match within_limit {
            true => frame.map(Ok),
            false => Some(Err(EventError::TooLong(self.limit))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_bounded_and_a_stream_of_them_is_not() {
        for end in ["\n", "\r", "\r\n"] {
            let bounded = || BoundedEvents {
                body: "".into(),
                limit: 100,
                event_bytes: 0,
                line_bytes: 0,
                after_cr: false,
            };
            let mut events = bounded();
            let event = format!("id: 1{end}data: {}{end}{end}", "x".repeat(80));
            assert!(
                (0..10).all(|_| event.as_bytes().chunks(7).all(|chunk| events.within_limit(chunk))),
                "{end:?}"
            );
            let lines = format!("data: x{end}").repeat(20);
            assert!(!bounded().within_limit(lines.as_bytes()), "{end:?}: many lines");
            assert!(!bounded().within_limit(&[b'x'; 101]), "{end:?}: a long one");
        }
    }
}
