//! Parsed requests: the call, its codec, and its resources.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use bytes::Bytes;

use super::body::{self, BodyError, BodyLimits};
use super::response::{self, ErrorResponse};
use super::settings::Settings;
use super::unsent::{Room, UNREAD};
use crate::call::{Call, MethodDesc};
use crate::codec::Codec;
use crate::context::{self, Context, Peer};
use crate::error::{Error, ErrorKind, Sent};
use crate::http::headers;
use crate::name::Name;
use crate::transport::Inbound;
use crate::transport::large_requests::LargePermit;

/// A parsed request: the call, the codec of its response, and the fingerprint of the method if the
/// client asked for it.
pub(super) struct GatewayRequest {
    call: Call,
    codec: Option<Codec>,
    contract: Option<u64>,
    /// The length of the body, in bytes.
    body_len: usize,
    /// The memory of a large body, until the call has ended.
    _large: Option<LargePermit>,
    /// The permit to produce a response, if an `HttpListener` received the request.
    room: Option<Room>,
}

impl GatewayRequest {
    /// Runs the call and returns the response.
    pub(super) async fn run(self, gateway: &Settings) -> Response {
        let (name, inbound) = (self.call.name().to_owned(), gateway.inbound.clone());
        let (called, body_len) = (name.clone(), self.body_len);
        let response = gateway
            .work
            .run(&name, body_len, async move { self.response(&called, &inbound).await })
            .await;
        response.unwrap_or_else(|| {
            let error = Error::new(ErrorKind::Cancelled, &name, "the work was cancelled");
            ErrorResponse::from(error.with_sent(Sent::Maybe)).into_response()
        })
    }

    /// Waits until there is room for the response, and produces it. Nothing may come between the
    /// two: when many calls wait, those that find no room left must wait on.
    async fn response(mut self, name: &str, inbound: &Inbound) -> Response {
        if let Some(room) = &mut self.room
            && !room.wait().await
        {
            return ErrorResponse::from(
                Error::new(ErrorKind::Overloaded, name, UNREAD).with_sent(Sent::No),
            )
            .into_response();
        }
        let mut response = match inbound.send(self.call).await {
            Ok(reply) => {
                response::reply(name, &reply, self.codec, self.room.as_ref().map(Room::unsent))
            }
            Err(error) => ErrorResponse::from(error).into_response(),
        };
        if let Some(contract) = self.contract {
            response.headers_mut().insert(headers::CONTRACT, headers::contract(contract));
        }
        response
    }
}

/// Parses a request. Everything that does not need the body is checked before the body is read.
pub(super) async fn read(
    gateway: &Settings,
    head: &Parts,
    body: Body,
) -> Result<GatewayRequest, ErrorResponse> {
    if head.method != Method::POST {
        return Err(ErrorResponse::method_not_allowed());
    }
    let name = name(head.uri.path())?;
    let fail = |kind, message: &str| {
        ErrorResponse::from(Error::new(kind, &name, message).with_sent(Sent::No))
    };
    let peer = gateway
        .authenticator
        .identify(&head.headers)
        .map_err(|(kind, message)| fail(kind, message))?;
    let method = gateway.inbound.method(name.as_str())?;
    let codec = match method {
        Some(_) => {
            Some(codec(&head.headers).ok_or_else(|| ErrorResponse::wrong_content_type(&name))?)
        }
        None => None,
    };
    if let (Some(method), Some(Codec::Bincode)) = (method, codec) {
        check_contract(method, &head.headers)?;
    }
    let context =
        context_of(gateway, head, peer).map_err(|message| fail(ErrorKind::Decode, message))?;
    let limits = BodyLimits { bytes: gateway.max_body, time: gateway.body_timeout };
    let (bytes, large) = read_body(&name, head, body, limits).await?;
    let (body_len, room) = (bytes.len(), head.extensions.get().cloned());
    let call = match codec {
        Some(codec) => Call::encoded(name, codec, bytes),
        None => Call::raw(name, bytes),
    };
    let contract = method
        .filter(|_| head.headers.contains_key(headers::CONTRACT))
        .map(MethodDesc::fingerprint);
    let codec = codec.map(|codec| method.map_or(codec, |method| method.codec(codec)));
    Ok(GatewayRequest {
        call: call.with_context(context),
        codec,
        contract,
        body_len,
        _large: large,
        room,
    })
}

/// Refuses bincode of a different contract: its bytes might decode to other values.
fn check_contract(method: &MethodDesc, headers: &HeaderMap) -> Result<(), ErrorResponse> {
    let fingerprint = headers.get(headers::CONTRACT).and_then(headers::read_contract);
    let contract = method.contract();
    if fingerprint == Some(contract.fingerprint) {
        return Ok(());
    }
    let message =
        format!("bincode needs the same contract at both ends, and here it is `{}`", contract.text);
    Err(Error::new(ErrorKind::Contract, method.full_name(), message).with_sent(Sent::No).into())
}

/// Returns the name after the mount point. No name needs an escape, so a path with escapes is not a
/// name: each service has exactly one spelling.
fn name(path: &str) -> Result<Name, ErrorResponse> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        let message = "the path is the name of a method or a raw service: POST /billing.charge";
        return Err(ErrorResponse::bad_request("", message));
    }
    Name::parse(path).map_err(|cause| {
        ErrorResponse::from(Error::new(ErrorKind::NotRoutable, path, cause.to_string()))
    })
}

fn codec(headers: &HeaderMap) -> Option<Codec> {
    headers::codec(headers.get(CONTENT_TYPE))
}

/// Builds the context of the call. An invalid `connectivity-*` header is an error and not replaced
/// by a default. What the application around the gateway has set overrides the headers.
fn context_of(
    gateway: &Settings,
    head: &Parts,
    peer: Option<Peer>,
) -> Result<Context, &'static str> {
    let (mut context, outer) = (Context::new(), context::current());
    if let Some(value) = head.headers.get(headers::META) {
        context = headers::read_meta(value, context)
            .ok_or("the header connectivity-meta is not key=value&.. within 8 KiB")?;
    }
    for (key, value) in outer.metas() {
        context = context
            .with_meta(key, value)
            .map_err(|_| "the header connectivity-meta leaves no room within 8 KiB")?;
    }
    let timeout = match head.headers.get(headers::TIMEOUT_MS) {
        Some(value) => headers::read_timeout(value)
            .ok_or("the header connectivity-timeout-ms is no positive number")?,
        None => gateway.max_timeout,
    };
    context = context.with_timeout(timeout.min(gateway.max_timeout));
    if let Some(deadline) = outer.deadline() {
        context = context.with_deadline(deadline);
    }
    let trace_parent = head.headers.get(headers::TRACE_PARENT).and_then(headers::read_trace_parent);
    if let Some(trace_parent) = trace_parent.or(outer.trace_parent()) {
        context = context.with_trace_parent(trace_parent);
    }
    let peer = peer.or_else(|| head.extensions.get().or(outer.peer()).cloned());
    Ok(match peer {
        Some(peer) => context.with_peer(peer),
        None => context,
    })
}

/// Reads a body within its limits, or returns the error response.
pub(crate) async fn read_body(
    name: &Name,
    head: &Parts,
    body: Body,
    limits: BodyLimits,
) -> Result<(Bytes, Option<LargePermit>), ErrorResponse> {
    let body = body::read(head, body, limits).await;
    body.map_err(|cause| body_error(name, &cause, limits.bytes))
}

fn body_error(name: &Name, cause: &BodyError, limit: usize) -> ErrorResponse {
    match cause {
        BodyError::TooLarge => ErrorResponse::from(
            Error::new(ErrorKind::TooLarge, name, format!("the body is over {limit} bytes"))
                .with_sent(Sent::No),
        ),
        BodyError::TooSlow => ErrorResponse::too_slow(name),
        BodyError::NoMemory => ErrorResponse::from(
            Error::new(ErrorKind::Overloaded, name, "too many large requests are under way")
                .with_sent(Sent::No),
        ),
        BodyError::Broken => ErrorResponse::bad_request(name.as_str(), "the body ended early"),
    }
}
