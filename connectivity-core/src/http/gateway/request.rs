//! A request that was understood: what it asks, of which service, in which codec.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use bytes::Bytes;

use super::Inner;
use super::body::{self, BodyError, BodyLimits};
use super::response::{self, ErrorResponse};
use super::unsent::{Room, UNREAD};
use crate::call::{Call, MethodDesc};
use crate::codec::Codec;
use crate::context::{self, Context, Peer};
use crate::error::{Error, ErrorKind, Sent};
use crate::http::headers;
use crate::name::Name;
use crate::transport::Inbound;
use crate::transport::large_requests::LargePermit;

/// A call that came as a request, the codec its answer goes in, and the fingerprint that its sender
/// asked for.
pub(super) struct GatewayRequest {
    call: Call,
    codec: Option<Codec>,
    contract: Option<u64>,
    /// The length of its body.
    bytes: usize,
    /// The memory of a large body, until the call has ended.
    _large: Option<LargePermit>,
    /// The room for its answer, if it came to a listener of ours.
    room: Option<Room>,
}

impl GatewayRequest {
    /// Calls the implementation, and makes a response of what it says.
    pub(super) async fn ask(self, gateway: &Inner) -> Response {
        let (name, inbound) = (self.call.name().to_owned(), gateway.inbound.clone());
        let (called, bytes) = (name.clone(), self.bytes);
        let response = gateway
            .work
            .run(&name, bytes, async move { self.response(&called, &inbound).await })
            .await;
        response.unwrap_or_else(|| {
            let error = Error::new(ErrorKind::Cancelled, &name, "the work was cancelled");
            ErrorResponse::from(error.with_sent(Sent::Maybe)).into_response()
        })
    }

    /// Makes the response once there is room for it. Nothing comes between the two: of many calls
    /// that wait, those that find no room any more wait on.
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
                response::reply(name, &reply, self.codec, self.room.as_ref().map(Room::answers))
            }
            Err(error) => ErrorResponse::from(error).into_response(),
        };
        if let Some(contract) = self.contract {
            response.headers_mut().insert(headers::CONTRACT, headers::contract(contract));
        }
        response
    }
}

/// Understands a request, or says why not. Everything that needs no body is checked before the body
/// is read.
pub(super) async fn read(
    gateway: &Inner,
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
    let peer =
        gateway.callers.identify(&head.headers).map_err(|(kind, message)| fail(kind, message))?;
    let method = gateway.inbound.method(name.as_str())?;
    let codec = match method {
        Some(_) => {
            Some(codec(&head.headers).ok_or_else(|| ErrorResponse::wrong_content_type(&name))?)
        }
        None => None,
    };
    if let (Some(method), Some(Codec::Bincode)) = (method, codec) {
        same_contract(method, &head.headers)?;
    }
    let context =
        context_of(gateway, head, peer).map_err(|message| fail(ErrorKind::Decode, message))?;
    let limits = BodyLimits { bytes: gateway.max_body, time: gateway.body_timeout };
    let (bytes, large) = read_body(&name, head, body, limits).await?;
    let (length, room) = (bytes.len(), head.extensions.get().cloned());
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
        bytes: length,
        _large: large,
        room,
    })
}

/// Refuses bincode of a contract that is not this one: its bytes could decode, and mean something
/// else.
fn same_contract(method: &MethodDesc, headers: &HeaderMap) -> Result<(), ErrorResponse> {
    let there = headers.get(headers::CONTRACT).and_then(headers::read_contract);
    let contract = method.contract();
    if there == Some(contract.fingerprint) {
        return Ok(());
    }
    let message =
        format!("bincode needs the same contract at both ends, and here it is `{}`", contract.text);
    Err(Error::new(ErrorKind::Contract, method.full_name(), message).with_sent(Sent::No).into())
}

/// The name after the mount point. No name needs an escape, so an escaped one is none: one spelling
/// reaches a service.
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

/// What travels with the call. A header of ours that makes no sense is an error, not a default;
/// what the application around the gateway has set stands, whatever a header claims.
fn context_of(gateway: &Inner, head: &Parts, peer: Option<Peer>) -> Result<Context, &'static str> {
    let (mut context, around) = (Context::new(), context::current());
    if let Some(value) = head.headers.get(headers::META) {
        context = headers::read_meta(value, context)
            .ok_or("the header connectivity-meta is not key=value&.. within 8 KiB")?;
    }
    for (key, value) in around.metas() {
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
    if let Some(deadline) = around.deadline() {
        context = context.with_deadline(deadline);
    }
    let trace_parent = head.headers.get(headers::TRACE_PARENT).and_then(headers::read_trace_parent);
    if let Some(trace_parent) = trace_parent.or(around.trace_parent()) {
        context = context.with_trace_parent(trace_parent);
    }
    let peer = peer.or_else(|| head.extensions.get().or(around.peer()).cloned());
    Ok(match peer {
        Some(peer) => context.with_peer(peer),
        None => context,
    })
}

/// Reads a body within its limits, or says why not.
pub(crate) async fn read_body(
    name: &Name,
    head: &Parts,
    body: Body,
    limits: BodyLimits,
) -> Result<(Bytes, Option<LargePermit>), ErrorResponse> {
    let body = body::read(head, body, limits).await;
    body.map_err(|cause| body_refused(name, &cause, limits.bytes))
}

fn body_refused(name: &Name, cause: &BodyError, limit: usize) -> ErrorResponse {
    match cause {
        BodyError::TooLarge => ErrorResponse::from(
            Error::new(ErrorKind::TooLarge, name, format!("the body is over {limit} bytes"))
                .with_sent(Sent::No),
        ),
        BodyError::TooSlow => ErrorResponse::too_slow(name),
        BodyError::Crowded => ErrorResponse::from(
            Error::new(ErrorKind::Overloaded, name, "too many large requests are under way")
                .with_sent(Sent::No),
        ),
        BodyError::Broken => ErrorResponse::bad_request(name.as_str(), "the body ended early"),
    }
}
