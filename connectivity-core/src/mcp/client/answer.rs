//! Results of tools, as replies to calls. No I/O.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData};
use serde::Deserialize;
use serde_json::Value;

use super::dial::{quoted, refused};
use super::stream::UNREADABLE;
use crate::call::{Call, MethodDesc, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::mcp::protocol::RESULT;

/// What is known of the JSON of a method's value and error.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// The value is no object, and stands in one.
    wrapped: bool,
    /// The value, the error is a text.
    text: bool,
    error_text: bool,
}

/// The forms of the methods that were called on a route: a type is walked once.
#[derive(Debug, Default)]
pub(super) struct Forms(RwLock<HashMap<&'static str, Form>>);

impl Forms {
    fn of(&self, method: &'static MethodDesc) -> Form {
        let known =
            self.0.read().unwrap_or_else(PoisonError::into_inner).get(method.full_name()).copied();
        known.unwrap_or_else(|| {
            let shape = method.json_shape();
            let form = Form {
                wrapped: !shape.ok().is_object(),
                text: shape.ok().is_text(),
                error_text: shape.err().is_text(),
            };
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(method.full_name(), form);
            form
        })
    }

    /// Makes the reply of a call from a result of at most `limit` bytes. What an error result says
    /// of the kind of a failure is believed of a server of ours only.
    pub(super) fn read(
        &self,
        call: &Call,
        result: CallToolResult,
        limit: usize,
        ours: bool,
    ) -> Result<Reply, Error> {
        let too_large = || {
            call.failed(ErrorKind::TooLarge, format_args!("the reply is over {limit} bytes"))
                .with_sent(Sent::Yes)
        };
        if result.is_error == Some(true) {
            let text = texts(&result.content);
            return if text.len() > limit {
                Err(too_large())
            } else {
                self.error(call, &text, ours)
            };
        }
        let form = call.method().map(|method| self.of(method));
        let bytes = match form {
            Some(form) => typed(form, result),
            None => raw(&result),
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

    /// An error result: what our own server refuses, the error type of the contract, or a text for
    /// people.
    fn error(&self, call: &Call, text: &str, ours: bool) -> Result<Reply, Error> {
        if let Some(refusal) = FailedCall::read(text).filter(|_| ours) {
            let sent = Sent::from_word(&refusal.sent);
            return Err(call.failed(refusal.kind, quoted(&refusal.message)).with_sent(sent));
        }
        if let Some(method) = call.method() {
            let json = json(text.to_owned(), self.of(method).error_text);
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

/// The JSON of a method's value.
fn typed(form: Form, result: CallToolResult) -> Result<Bytes, &'static str> {
    match result.structured_content {
        Some(Value::Object(mut object))
            if form.wrapped && object.len() == 1 && object.contains_key(RESULT) =>
        {
            written(&object.remove(RESULT).unwrap_or_default())
        }
        Some(value) => written(&value),
        None if result.content.is_empty() => Ok(Bytes::from_static(b"null")),
        None => match texts_only(&result.content) {
            true => Ok(json(texts(&result.content), form.text)),
            false => Err("the result has neither structured content nor texts only"),
        },
    }
}

/// What a raw service answers: the structured content; or the text, if that is all there is; or the
/// result as a whole, as the original gives it.
fn raw(result: &CallToolResult) -> Result<Bytes, &'static str> {
    match (&result.structured_content, &result.content[..]) {
        (Some(value), _) => written(value),
        (None, [ContentBlock::Text(only)]) => Ok(Bytes::from(only.text.clone())),
        (None, _) => serde_json::to_vec(result)
            .map(Bytes::from)
            .map_err(|_cause| "the result cannot be written as JSON"),
    }
}

fn written(value: &Value) -> Result<Bytes, &'static str> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|_cause| "the structured content cannot be written as JSON")
}

fn texts_only(content: &[ContentBlock]) -> bool {
    content.iter().all(|block| matches!(block, ContentBlock::Text(_)))
}

/// The texts of a result, a line each.
fn texts(content: &[ContentBlock]) -> String {
    let texts: Vec<_> = content
        .iter()
        .filter_map(|block| match block {
            ContentBlock::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n")
}

/// A text as JSON: it is JSON, unless it stands for a text itself and is none in quotes.
fn json(text: String, is_text: bool) -> Bytes {
    if is_text && serde_json::from_str::<String>(&text).is_err() {
        return Value::String(text).to_string().into();
    }
    text.into()
}

/// What our own server writes for a call that it has no answer to. It says whether the call ran,
/// which no error type does: one that is [`Error`] itself was handed on by an implementation, and
/// is about another call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailedCall {
    #[serde(deserialize_with = "known_kind")]
    kind: ErrorKind,
    #[serde(rename = "name")]
    _name: String,
    message: String,
    sent: String,
}

impl FailedCall {
    fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

fn known_kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ErrorKind, D::Error> {
    let word = String::deserialize(deserializer)?;
    let known = ErrorKind::ALL.iter().find(|kind| kind.as_str() == word);
    known.copied().ok_or_else(|| serde::de::Error::custom("none of our kinds"))
}

/// Says whether a server of ours has refused a request because it stops: it did not run.
pub(super) fn is_too_late(error: &ErrorData) -> bool {
    kind_of(error) == Some(ErrorKind::Closed.as_str())
}

/// The kind that our own server says beside the code.
fn kind_of(error: &ErrorData) -> Option<&str> {
    error.data.as_ref()?.get("kind")?.as_str()
}

/// What an error of JSON-RPC means for a call. Our own server says the kind beside the code where
/// the call did not run; of others such a word may be about anything.
pub(super) fn refused_by(call: &Call, error: &ErrorData, ours: bool) -> Error {
    let kind = kind_of(error).filter(|_| ours);
    let known = [ErrorKind::NotRoutable, ErrorKind::Overloaded, ErrorKind::TooLarge];
    let kind = known.into_iter().find(|known| kind == Some(known.as_str()));
    let message = refused(error.code.0, &error.message);
    match (kind, error.code) {
        (Some(kind), _) => call.failed(kind, message).with_sent(Sent::No),
        (None, ErrorCode::METHOD_NOT_FOUND) => call
            .failed(ErrorKind::NotRoutable, message)
            .with_sent(if ours { Sent::No } else { Sent::Maybe }),
        (None, UNREADABLE) => {
            call.failed(ErrorKind::Decode, quoted(&error.message)).with_sent(Sent::Maybe)
        }
        (None, _) => call.failed(ErrorKind::Remote, message).with_sent(Sent::Maybe),
    }
}
