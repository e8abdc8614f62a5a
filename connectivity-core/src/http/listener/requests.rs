//! The requests of one connection: each needs a slot and room for its response before it starts.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::header::{CONNECTION, HOST, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Request, Response, Version};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::seat::{Busy, Seat};
use crate::call::BoxFuture;
use crate::error::{Error, ErrorKind, Sent};
use crate::http::gateway::{Counted, ErrorResponse, OfOrigin, Room, UNREAD};
use crate::name::Name;
use crate::transport::large_requests::LargeShare;

/// State that the requests of one connection need.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) app: axum::Router,
    pub(super) seat: Arc<Seat>,
    pub(super) unsent: Arc<OfOrigin>,
    pub(super) large: LargeShare,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.handle(request).await) })
    }
}

impl Requests {
    async fn handle(self, mut request: Request<Incoming>) -> Response<ResponseBody> {
        let Self { app, seat, unsent, large } = self;
        let (busy, mut room) = (seat.begin(), Room::new(Arc::clone(&unsent)));
        let response = if !names_one_host(&request) {
            closing(ErrorResponse::bad_request("", "a request of HTTP/1.1 names one host"))
        } else if busy.is_none() {
            overloaded(&request, "too many requests of this address are under way")
        } else if !room.wait().await {
            overloaded(&request, UNREAD)
        } else {
            request.extensions_mut().insert(large);
            request.extensions_mut().insert(room);
            match app.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        let counted = response.extensions().get::<Counted>().is_some();
        let unsent = Some(unsent).filter(|_| !counted);
        response.map(|body| ResponseBody { body, unsent, _busy: busy })
    }
}

/// Returns whether a request names exactly one host, as RFC 9112 (3.2) requires. Proxies and
/// servers that pick different hosts can be tricked into routing a request to the wrong one.
fn names_one_host(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).is_ok(),
        (None, None) => request.version() < Version::HTTP_11,
        _ => false,
    }
}

/// Refuses a request before it is read.
fn overloaded(request: &Request<Incoming>, message: &str) -> Response<Body> {
    let path = request.uri().path();
    let name = Name::parse(path.strip_prefix('/').unwrap_or(path))
        .map_or_else(|_| String::new(), |name| name.to_string());
    let error = Error::new(ErrorKind::Overloaded, name, message).with_sent(Sent::No);
    closing(ErrorResponse::from(error))
}

/// Returns a response that closes the connection: with an unread request it cannot be reused.
fn closing(error: ErrorResponse) -> Response<Body> {
    let mut response = error.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body of a response. Its request counts as running until the body is dropped, and its bytes
/// count as unsent until they were sent.
pub(super) struct ResponseBody {
    body: Body,
    /// The counter of unsent bytes, unless the body is counted already.
    unsent: Option<Arc<OfOrigin>>,
    _busy: Option<Busy>,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let count = |piece| match &self.unsent {
            Some(unsent) => unsent.count(piece),
            None => piece,
        };
        Poll::Ready(frame.map(|frame| Ok(frame?.map_data(count))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
