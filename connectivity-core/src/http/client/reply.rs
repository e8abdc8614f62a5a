//! Reads the response of an HTTP server, which need not run this crate.

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::security;
use crate::call::{Call, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::http::headers;

/// The most bytes that are read of an error's body: enough for what a gateway writes. A megabyte of
/// HTML is no error message.
const MAX_ERROR_BODY: usize = 8 * 1024;

/// Reads the reply of a call from a response.
pub(crate) async fn read(
    call: &Call,
    requested: Option<Codec>,
    response: Response,
    limit: usize,
) -> Result<Reply, Error> {
    let status = response.status();
    let codec = headers::codec(response.headers().get(CONTENT_TYPE));
    match (requested, status.is_success(), status == StatusCode::UNPROCESSABLE_ENTITY) {
        (None, true, _) => Ok(Reply::raw(read_body(call, response, limit).await?)),
        (Some(_), true, _) | (Some(_), _, true) => {
            let codec = codec.ok_or_else(|| wrong_type(call, status))?;
            Ok(Reply::encoded(codec, read_body(call, response, limit).await?, !status.is_success()))
        }
        _ => Err(response_error(call, response).await),
    }
}

fn wrong_type(call: &Call, status: StatusCode) -> Error {
    let message =
        format!("status {status} came with a content type that is neither JSON nor bincode");
    call.failed(ErrorKind::Decode, message).with_sent(Sent::Maybe)
}

/// Reads a body, up to the limit of the row.
pub(crate) async fn read_body(
    call: &Call,
    mut response: Response,
    limit: usize,
) -> Result<Bytes, Error> {
    let too_large = || {
        call.failed(ErrorKind::TooLarge, format_args!("the reply is over {limit} bytes"))
            .with_sent(Sent::Yes)
    };
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(cause) => return Err(send_error(call, &cause)),
        }
    }
}

/// The JSON that a gateway writes for an error.
#[derive(Deserialize)]
struct WireError {
    #[serde(default)]
    message: String,
}

/// Builds the error of an unsuccessful response. The text of a foreign server is left out.
async fn response_error(call: &Call, response: Response) -> Error {
    let status = response.status();
    let word = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .map(str::to_owned)
    };
    let at = authority(response.url());
    let Some(kind) = word(headers::ERROR) else {
        return call
            .failed(kind_of(status), format_args!("status {status} of {at}"))
            .with_sent(Sent::Maybe);
    };
    let sent = sent_of(response.headers()).unwrap_or(Sent::Maybe);
    let body = read_body(call, response, MAX_ERROR_BODY).await.unwrap_or_default();
    let message = serde_json::from_slice::<WireError>(&body)
        .map(|failure| failure.message)
        .unwrap_or_default();
    let (kind, message) = (ErrorKind::from_word(&kind), message.escape_debug());
    match kind {
        // Without the server's name it would read as an error about this process's routes.
        ErrorKind::NotRoutable => call.failed(kind, format_args!("{at} says: {message}")),
        _ => call.failed(kind, message),
    }
    .with_sent(sent)
}

/// Returns the host and port of a URL; the rest can be anything an operator typed.
fn authority(url: &reqwest::Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Returns whether the call may have run, as a server of this crate reports it; `None` if the
/// response is not an error of one.
pub(crate) fn sent_of(headers: &HeaderMap) -> Option<Sent> {
    headers.get(headers::ERROR)?;
    let word = headers.get(headers::SENT).and_then(|value| value.to_str().ok());
    Some(word.map_or(Sent::Maybe, Sent::from_word))
}

/// Returns the error kind for the status of a foreign server.
pub(crate) fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        404 | 405 => ErrorKind::NotRoutable,
        408 | 504 => ErrorKind::Timeout,
        413 => ErrorKind::TooLarge,
        429 | 503 => ErrorKind::Overloaded,
        _ => ErrorKind::Remote,
    }
}

/// Builds the error of a request that got no response.
pub(crate) fn send_error(call: &Call, cause: &reqwest::Error) -> Error {
    let (kind, message, sent) = not_answered(cause);
    call.failed(kind, message).with_sent(sent)
}

/// Classifies a request that got no response: without a connection nothing was sent; otherwise the
/// call may have run.
pub(crate) fn not_answered(cause: &reqwest::Error) -> (ErrorKind, String, Sent) {
    if let Some(refusal) = security::refusal(cause) {
        return (ErrorKind::Connect, refusal, Sent::No);
    }
    let message = chain(cause);
    if cause.is_connect() {
        let at = cause.url().map(authority).unwrap_or_default();
        (ErrorKind::Connect, format!("{at}: {message}"), Sent::No)
    } else if cause.is_timeout() {
        (ErrorKind::Timeout, message, Sent::Maybe)
    } else {
        (ErrorKind::Closed, message, Sent::Maybe)
    }
}

/// Returns the causes of an error, outermost first, without the URL, which can be anything an
/// operator typed.
pub(crate) fn chain(cause: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut next = std::error::Error::source(cause);
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts.dedup();
    texts.join(": ")
}
