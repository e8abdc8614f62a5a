//! Decodes tool results into replies to calls. No I/O.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData};
use serde::Deserialize;
use serde_json::Value;

use super::refusal::{UNREADABLE, quoted, rpc_error_text};
use crate::call::{Call, MethodDesc, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::mcp::protocol::RESULT;

/// JSON form of a method's value and error types.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// The value is not an object, so the server wraps it in one.
    wrapped: bool,
    /// The value is a string.
    ok_is_text: bool,
    /// The error is a string.
    err_is_text: bool,
}

/// Forms of the methods called on a route, cached so that each type is walked once.
#[derive(Debug, Default)]
pub(super) struct Forms(RwLock<HashMap<&'static str, Form>>);

impl Forms {
    fn of(&self, method: &'static MethodDesc) -> Form {
        let cached =
            self.0.read().unwrap_or_else(PoisonError::into_inner).get(method.full_name()).copied();
        cached.unwrap_or_else(|| {
            let shape = method.json_shape();
            let form = Form {
                wrapped: !shape.ok().is_object(),
                ok_is_text: shape.ok().is_text(),
                err_is_text: shape.err().is_text(),
            };
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(method.full_name(), form);
            form
        })
    }

    /// Decodes the reply of a call from a tool result of at most `limit` bytes. The failure kind in
    /// an error result is trusted only if `own_server` is true, that is, if the server is one of
    /// this crate.
    pub(super) fn decode(
        &self,
        call: &Call,
        result: CallToolResult,
        limit: usize,
        own_server: bool,
    ) -> Result<Reply, Error> {
        let too_large = || {
            call.failed(ErrorKind::TooLarge, format_args!("the reply is over {limit} bytes"))
                .with_sent(Sent::Yes)
        };
        if result.is_error == Some(true) {
            let text = join_texts(&result.content);
            return if text.len() > limit {
                Err(too_large())
            } else {
                self.decode_error(call, &text, own_server)
            };
        }
        let form = call.method().map(|method| self.of(method));
        let bytes = match form {
            Some(form) => method_value(form, result),
            None => raw_value(&result),
        };
        let bytes =
            bytes.map_err(|cause| call.failed(ErrorKind::Decode, cause).with_sent(Sent::Yes))?;
        if bytes.len() > limit {
            return Err(too_large());
        }
        Ok(match form {
            Some(_) => Reply::encoded(Codec::Json, bytes, false),
            None => Reply::raw(bytes),
        })
    }

    /// Decodes an error result: a refusal by a server of this crate, the error type of the
    /// contract, or free text.
    fn decode_error(&self, call: &Call, text: &str, own_server: bool) -> Result<Reply, Error> {
        if let Some(refusal) = FailedCall::parse(text).filter(|_| own_server) {
            let sent = Sent::from_word(&refusal.sent);
            return Err(call.failed(refusal.kind, quoted(&refusal.message)).with_sent(sent));
        }
        if let Some(method) = call.method() {
            let json = text_to_json(text.to_owned(), self.of(method).err_is_text);
            if method.is_error(&json) {
                return Ok(Reply::encoded(Codec::Json, json, true));
            }
        }
        let text = if text.is_empty() {
            "the tool failed, and does not say why".to_owned()
        } else {
            quoted(text)
        };
        Err(call.failed(ErrorKind::Remote, text).with_sent(Sent::Yes))
    }
}

/// Returns the JSON of a method's value.
fn method_value(form: Form, result: CallToolResult) -> Result<Bytes, &'static str> {
    match result.structured_content {
        Some(Value::Object(mut object))
            if form.wrapped && object.len() == 1 && object.contains_key(RESULT) =>
        {
            to_json(&object.remove(RESULT).unwrap_or_default())
        }
        Some(value) => to_json(&value),
        None if result.content.is_empty() => Ok(Bytes::from_static(b"null")),
        None => match is_text_only(&result.content) {
            true => Ok(text_to_json(join_texts(&result.content), form.ok_is_text)),
            false => Err("the result has neither structured content nor texts only"),
        },
    }
}

/// Returns the reply of a raw service: the structured content; else the text, if the content is a
/// single text block; else the whole result, as the Go original does.
fn raw_value(result: &CallToolResult) -> Result<Bytes, &'static str> {
    match (&result.structured_content, &result.content[..]) {
        (Some(value), _) => to_json(value),
        (None, [ContentBlock::Text(only)]) => Ok(Bytes::from(only.text.clone())),
        (None, _) => serde_json::to_vec(result)
            .map(Bytes::from)
            .map_err(|_cause| "the result cannot be written as JSON"),
    }
}

fn to_json(value: &Value) -> Result<Bytes, &'static str> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|_cause| "the structured content cannot be written as JSON")
}

fn is_text_only(content: &[ContentBlock]) -> bool {
    content.iter().all(|block| matches!(block, ContentBlock::Text(_)))
}

/// Joins the text blocks of a result, one per line.
fn join_texts(content: &[ContentBlock]) -> String {
    let texts: Vec<_> = content
        .iter()
        .filter_map(|block| match block {
            ContentBlock::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n")
}

/// Converts a text block to JSON. The text is JSON already, unless a string is expected and the
/// text is not a quoted JSON string; then this function quotes it.
fn text_to_json(text: String, is_text: bool) -> Bytes {
    if is_text && serde_json::from_str::<String>(&text).is_err() {
        return Value::String(text).to_string().into();
    }
    text.into()
}

/// Error result that a server of this crate sends for a call without a reply. Its `sent` field says
/// whether the call ran and tells it apart from the error type of a contract: an [`Error`] in a
/// contract was passed on by an implementation and describes another call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailedCall {
    #[serde(deserialize_with = "parse_kind")]
    kind: ErrorKind,
    #[serde(rename = "name")]
    _name: String,
    message: String,
    sent: String,
}

impl FailedCall {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

fn parse_kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ErrorKind, D::Error> {
    let word = String::deserialize(deserializer)?;
    let known = ErrorKind::ALL.iter().find(|kind| kind.as_str() == word);
    known.copied().ok_or_else(|| serde::de::Error::custom("none of our kinds"))
}

/// Returns whether a server of this crate refused a request because it is shutting down. Such a
/// request did not run.
pub(super) fn is_draining(error: &ErrorData) -> bool {
    kind_of(error) == Some(ErrorKind::Closed.as_str())
}

/// Returns the kind that a server of this crate puts into the data of an error.
fn kind_of(error: &ErrorData) -> Option<&str> {
    error.data.as_ref()?.get("kind")?.as_str()
}

/// Maps a JSON-RPC error to the error of a call. A server of this crate adds the kind as data if
/// the call did not run. Other servers may use the same key for anything, so it is ignored.
pub(super) fn map_rpc_error(call: &Call, error: &ErrorData, own_server: bool) -> Error {
    let kind = kind_of(error).filter(|_| own_server);
    let known = [ErrorKind::NotRoutable, ErrorKind::Overloaded, ErrorKind::TooLarge];
    let kind = known.into_iter().find(|known| kind == Some(known.as_str()));
    let message = rpc_error_text(error.code.0, &error.message);
    match (kind, error.code) {
        (Some(kind), _) => call.failed(kind, message).with_sent(Sent::No),
        (None, ErrorCode::METHOD_NOT_FOUND) => call
            .failed(ErrorKind::NotRoutable, message)
            .with_sent(if own_server { Sent::No } else { Sent::Maybe }),
        (None, UNREADABLE) => {
            call.failed(ErrorKind::Decode, quoted(&error.message)).with_sent(Sent::Maybe)
        }
        (None, _) => call.failed(ErrorKind::Remote, message).with_sent(Sent::Maybe),
    }
}
