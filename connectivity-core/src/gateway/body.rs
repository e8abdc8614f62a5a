//! Reading a request's body within its limits.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// Reads a body. One that announces too much is refused before a byte of it is read, so that its sender hears of it at once.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize, time: Duration) -> Result<Bytes, BodyError> {
    if announced(headers).is_some_and(|length| length > limit as u64) {
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout(time, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_elapsed) => Err(BodyError::TooSlow),
    }
}

/// The announced length; one that is no number is more than any limit.
fn announced(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(CONTENT_LENGTH)?;
    Some(length.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX))
}
