//! Replies and errors as HTTP responses.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::unsent::{Counted, OfOrigin};
use crate::call::Reply;
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::http::headers;
use crate::name::Name;

/// Returns the response for a reply: the value with 200, the error of the contract with 422.
pub(super) fn reply(
    name: &str,
    reply: &Reply,
    codec: Option<Codec>,
    unsent: Option<&Arc<OfOrigin>>,
) -> Response {
    let status =
        if reply.is_app_error() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    match reply.encode(name, codec.unwrap_or(Codec::Json)) {
        Ok((codec, bytes)) => {
            let content_type = codec.map_or(headers::OCTET_STREAM, headers::content_type);
            let Some(unsent) = unsent else {
                return (status, [(CONTENT_TYPE, content_type)], Body::from(bytes)).into_response();
            };
            let body = Body::from(unsent.count(bytes));
            (status, [(CONTENT_TYPE, content_type)], Extension(Counted), body).into_response()
        }
        Err(error) => ErrorResponse::from(error).into_response(),
    }
}

/// An error of this crate, with the status that it maps to.
pub(crate) struct ErrorResponse {
    status: StatusCode,
    error: Error,
    header: Option<(HeaderName, HeaderValue)>,
}

impl ErrorResponse {
    fn new(status: StatusCode, kind: ErrorKind, name: &str, message: &str) -> Self {
        Self { status, error: Error::new(kind, name, message).with_sent(Sent::No), header: None }
    }

    fn with_header(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, HeaderValue::from_static(value))), ..self }
    }

    pub(crate) fn bad_request(name: &str, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Decode, name, message)
    }

    pub(super) fn method_not_allowed() -> Self {
        let response = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::Unimplemented,
            "",
            "a call is a POST request",
        );
        response.with_header(ALLOW, "POST")
    }

    pub(super) fn wrong_content_type(name: &Name) -> Self {
        let message =
            "send `Content-Type: application/json` and an object with the arguments by name";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorKind::Decode, name.as_str(), message)
    }

    /// Returns the error for a slow body. The rest of the body is still in transit, so the
    /// connection cannot be reused.
    pub(super) fn too_slow(name: &Name) -> Self {
        let response = Self::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorKind::Timeout,
            name.as_str(),
            "the body took too long",
        );
        response.with_header(CONNECTION, "close")
    }

    /// Returns the error, for callers that report it in another protocol.
    #[cfg(feature = "mcp")]
    pub(crate) fn error(&self) -> &Error {
        &self.error
    }

    pub(crate) fn into_response(self) -> Response {
        let body = Codec::Json.encode(&self.error).unwrap_or_default();
        self.with_body(body)
    }

    pub(crate) fn with_body(self, body: impl Into<Body>) -> Response {
        let Self { status, error, header } = self;
        let head = [
            (CONTENT_TYPE, HeaderValue::from_static(headers::content_type(Codec::Json))),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (
                HeaderName::from_static(headers::ERROR),
                HeaderValue::from_static(error.kind().as_str()),
            ),
            (
                HeaderName::from_static(headers::SENT),
                HeaderValue::from_static(error.sent().as_str()),
            ),
        ];
        let mut response = (status, head, body.into()).into_response();
        response.headers_mut().extend(header);
        response
    }
}

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        let status = status(error.kind());
        let response = Self { status, error, header: None };
        match status {
            StatusCode::UNAUTHORIZED => response.with_header(WWW_AUTHENTICATE, "Bearer"),
            _ => response,
        }
    }
}

/// Returns the status of an error kind.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Decode | ErrorKind::Contract => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::NotRoutable | ErrorKind::Unimplemented => StatusCode::NOT_FOUND,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Closed | ErrorKind::CircuitOpen | ErrorKind::Connect | ErrorKind::Noop => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
