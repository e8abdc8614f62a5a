//! The requests of a session over HTTP. rmcp's own client says neither when a request begins to
//! leave nor with which status a refusal came; what becomes of a call depends on both.

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

use super::session::Ticket;
use crate::error::Sent;
use crate::http::client::sent_of;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const SESSION: &str = "mcp-session-id";

/// How much of a refusal is read.
const MAX_REFUSAL: usize = 64 * 1024;

/// How a server refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HttpRefusal {
    status: StatusCode,
    /// The request was one of a session.
    in_session: bool,
    /// What a server of ours says beside the status; anybody can write it.
    pub(super) sent: Option<Sent>,
}

impl HttpRefusal {
    /// Returns whether it can mean that the session is not known. Many servers say so by a status
    /// 400.
    pub(super) fn may_be_of_session(&self) -> bool {
        self.in_session && self.status == StatusCode::BAD_REQUEST
    }
}

/// Sends the requests.
#[derive(Clone)]
pub(super) struct Requests(pub(super) Client);

type HttpError = StreamableHttpError<reqwest::Error>;
type Posted = Result<StreamableHttpPostResponse, HttpError>;

impl StreamableHttpClient for Requests {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Posted {
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(uri, message, session, token, headers, limits).await
    }

    /// A row has its token among the headers.
    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> Posted {
        let asked = Asked::of(&message, session.is_some());
        let departure =
            asked.ticket.as_ref().map(|ticket| ticket.departure.clone()).unwrap_or_default();
        let body = departure.body(serde_json::to_vec(&message)?.into());
        let request =
            self.0.post(&*uri).header(ACCEPT, [EVENTS, JSON].join(", ")).header(CONTENT_TYPE, JSON);
        let mut request = request.headers(HeaderMap::from_iter(headers)).body(body);
        if let Some(session) = session {
            request = request.header(SESSION, &*session);
        }
        asked.answered(request.send().await?, limits).await
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

/// What is to be known of a message when its answer comes.
struct Asked {
    /// The id of a request; an answer to anything else is of no use.
    id: Option<RequestId>,
    /// It asks what the server is, which older ones refuse.
    discovers: bool,
    ticket: Option<Arc<Ticket>>,
    in_session: bool,
}

impl Asked {
    fn of(message: &ClientJsonRpcMessage, in_session: bool) -> Self {
        let ClientJsonRpcMessage::Request(JsonRpcRequest { id, request, .. }) = message else {
            return Self { id: None, discovers: false, ticket: None, in_session };
        };
        let discovers = matches!(request, ClientRequest::DiscoverRequest(_));
        Self {
            id: Some(id.clone()),
            discovers,
            ticket: request.extensions().get().cloned(),
            in_session,
        }
    }

    async fn answered(self, response: Response, limits: StreamableHttpResponseLimits) -> Posted {
        match response.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                Ok(StreamableHttpPostResponse::Accepted)
            }
            StatusCode::NOT_FOUND if self.in_session => Err(StreamableHttpError::SessionExpired),
            status if status.is_success() => self.succeeded(response, limits).await,
            status => self.refused(status, response).await,
        }
    }

    async fn succeeded(self, response: Response, limits: StreamableHttpResponseLimits) -> Posted {
        let session =
            response.headers().get(SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        if is_of_type(&response, EVENTS) {
            let events = Bounded {
                body: response.into(),
                limit: limits.max_sse_event_size,
                event: 0,
                line: 0,
                after_cr: false,
            };
            return Ok(StreamableHttpPostResponse::Sse(Box::pin(SseStream::new(events)), session));
        }
        let Some(id) = self.id else { return Ok(StreamableHttpPostResponse::Accepted) };
        if !is_of_type(&response, JSON) {
            return Err(StreamableHttpError::UnexpectedContentType(None));
        }
        let message =
            match serde_json::from_slice(&body(response, limits.max_json_response_size).await?)? {
                // Whoever cannot read a request cannot name it either.
                ServerJsonRpcMessage::Error(error) if error.id.is_none() => {
                    ServerJsonRpcMessage::error(error.error, Some(id))
                }
                message => message,
            };
        Ok(StreamableHttpPostResponse::Json(message, session))
    }

    /// An error of JSON-RPC in a refusal is about this request, whatever id it has.
    async fn refused(self, status: StatusCode, response: Response) -> Posted {
        let (in_session, sent) = (self.in_session, sent_of(response.headers()));
        if let Some(ticket) = &self.ticket {
            ticket.refused(HttpRefusal { status, in_session, sent });
        }
        let failure = Err(HttpStatusError::new(status.as_u16(), None).into());
        if matches!(status.as_u16(), 401 | 403 | 429) {
            return failure;
        }
        let error = if is_of_type(&response, JSON) { error_in(response).await } else { None };
        match (self.id, error) {
            (None, Some(_)) => Ok(StreamableHttpPostResponse::Accepted),
            (Some(id), Some(error)) => Ok(error_for(id, error)),
            (Some(id), None) if self.discovers && !in_session && status.is_client_error() => {
                Ok(error_for(id, ErrorData::invalid_request(format!("status {status}"), None)))
            }
            (_, None) => failure,
        }
    }
}

fn error_for(id: RequestId, error: ErrorData) -> StreamableHttpPostResponse {
    StreamableHttpPostResponse::Json(ServerJsonRpcMessage::error(error, Some(id)), None)
}

/// Returns whether a response is of a media type, whatever parameters follow it.
fn is_of_type(response: &Response, expected: &str) -> bool {
    let name = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = name.and_then(|name| name.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(expected))
}

async fn error_in(response: Response) -> Option<ErrorData> {
    let bytes = body(response, MAX_REFUSAL).await.ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        ServerJsonRpcMessage::Error(error) => Some(error.error),
        _ => None,
    }
}

async fn body(mut response: Response, limit: usize) -> Result<Bytes, HttpError> {
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        if piece.len() > limit - body.len() {
            return Err(StreamableHttpError::ResponseBodyTooLarge { max_size: limit });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// A stream of events, none of which is longer than the limit: what reads them keeps one until it
/// is whole.
struct Bounded {
    body: reqwest::Body,
    limit: usize,
    /// Bytes of the event so far, and of its last line.
    event: usize,
    line: usize,
    /// A line may end with both.
    after_cr: bool,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Body(#[from] reqwest::Error),
    #[error("an event is over {0} bytes")]
    TooLong(usize),
}

impl Bounded {
    /// An empty line ends an event.
    fn is_within(&mut self, piece: &[u8]) -> bool {
        piece.iter().all(|byte| {
            if std::mem::replace(&mut self.after_cr, *byte == b'\r') && *byte == b'\n' {
                return true;
            }
            let ends_line = matches!(byte, b'\n' | b'\r');
            self.event = if ends_line && self.line == 0 { 0 } else { self.event + 1 };
            self.line = if ends_line { 0 } else { self.line + 1 };
            self.event <= self.limit
        })
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
        let is_within =
            frame.as_ref().and_then(Frame::data_ref).is_none_or(|piece| self.is_within(piece));
        Poll::Ready(match is_within {
            true => frame.map(Ok),
            false => Some(Err(Broken::TooLong(self.limit))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_bounded_and_a_stream_of_them_is_not() {
        for end in ["\n", "\r", "\r\n"] {
            let bounded =
                || Bounded { body: "".into(), limit: 100, event: 0, line: 0, after_cr: false };
            let mut events = bounded();
            let event = format!("id: 1{end}data: {}{end}{end}", "x".repeat(80));
            assert!(
                (0..10).all(|_| event.as_bytes().chunks(7).all(|piece| events.is_within(piece))),
                "{end:?}"
            );
            let lines = format!("data: x{end}").repeat(20);
            assert!(!bounded().is_within(lines.as_bytes()), "{end:?}: many lines");
            assert!(!bounded().is_within(&[b'x'; 101]), "{end:?}: a long one");
        }
    }
}
