//! Parsing of one client message, which is accepted, refused or ignored.

use std::borrow::Cow;
use std::fmt;

use rmcp::model::{ClientJsonRpcMessage, ClientNotification, RequestId};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::error::ErrorKind;

/// A parsed message.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// A message for the session.
    Message(Box<ClientJsonRpcMessage>),
    /// An invalid message, with the error response that refuses it.
    Refused(Value),
    /// A message that gets no response: a notification, or a response to a request that was never
    /// sent.
    Ignored,
}

/// JSON-RPC error codes, and the one of this crate for a session with too many calls.
pub(crate) const PARSE_ERROR: i32 = -32700;
pub(crate) const INVALID_REQUEST: i32 = -32600;
pub(crate) const OVERLOADED: i32 = -32000;

/// Returns the error response that refuses a message.
pub(crate) fn refusal(id: Option<&RequestId>, code: i32, message: &str) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if code == OVERLOADED {
        error["data"] = error_data(ErrorKind::Overloaded);
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

/// Returns the error response to a request that is too large to be parsed.
pub(crate) fn too_large(id: Option<&RequestId>, message: &str) -> Value {
    let mut refused = refusal(id, INVALID_REQUEST, message);
    refused["error"]["data"] = error_data(ErrorKind::TooLarge);
    refused
}

/// Head of a message: its id and its method.
#[derive(Deserialize)]
pub(crate) struct Head<'a> {
    /// The id, if the key is present, even if it is not a valid id, such as null.
    #[serde(default, deserialize_with = "present_id")]
    pub(crate) id: Option<Value>,
    #[serde(default, borrow)]
    method: Option<Method<'a>>,
}

/// Borrows the text if it has no escapes. Serde does that for a `Cow`, but not for a `Cow` in an
/// `Option`.
#[derive(Deserialize)]
struct Method<'a>(#[serde(borrow)] Cow<'a, str>);

/// Deserializes an id whose key is present. An invalid id is skipped without being stored: a peer
/// may make it as long as a message.
fn present_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    deserializer.deserialize_any(IdVisitor).map(Some)
}

/// Keeps integers and strings; anything else becomes null.
struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }

    fn visit_u64<E>(self, id: u64) -> Result<Value, E> {
        Ok(id.into())
    }

    fn visit_i64<E>(self, id: i64) -> Result<Value, E> {
        Ok(id.into())
    }

    fn visit_f64<E>(self, _id: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, id: &str) -> Result<Value, E> {
        Ok(id.into())
    }

    fn visit_bool<E>(self, _id: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut id: A) -> Result<Value, A::Error> {
        while id.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut id: A) -> Result<Value, A::Error> {
        while id.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }
}

impl Head<'_> {
    pub(crate) fn method(&self) -> Option<&str> {
        self.method.as_ref().map(|method| &*method.0)
    }

    /// Returns the id that the response has to carry.
    pub(crate) fn request_id(self) -> Option<RequestId> {
        serde_json::from_value(self.id?).ok()
    }
}

/// Parses the head of a message at little cost. Returns `None` if the message has an unusual form.
pub(crate) fn head(bytes: &[u8]) -> Option<Head<'_>> {
    serde_json::from_slice(bytes).ok()
}

/// Finds the request id in the first bytes of a message: the value of the key `id` of the outermost
/// object, if that value is complete.
pub(crate) fn find_id(prefix: &[u8]) -> Option<RequestId> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in prefix.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                let key = prefix[at..].strip_prefix(b"\"id\"").filter(|_| depth == 1 && !in_string);
                if let Some(value) = key.and_then(|rest| rest.trim_ascii_start().strip_prefix(b":"))
                {
                    let id: Option<Result<Value, _>> =
                        serde_json::Deserializer::from_slice(value).into_iter().next();
                    return id?.ok().and_then(|id| serde_json::from_value(id).ok());
                }
                in_string = !in_string;
            }
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Returns the error response to a request that arrived while the session is draining.
pub(crate) fn draining(id: &RequestId) -> Value {
    let mut refused = refusal(Some(id), OVERLOADED, "the server stops, and takes no more requests");
    refused["error"]["data"] = error_data(ErrorKind::Closed);
    refused
}

/// Returns the `data` of an error whose call did not run: the error kind for a client of this
/// crate.
pub(crate) fn error_data(kind: ErrorKind) -> Value {
    json!({ "kind": kind.as_str() })
}

/// Parses a message. The parser bounds the nesting depth.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    if head(bytes).is_some_and(|head| {
        head.id.is_none() && head.method().is_some_and(|method| !is_handled(method))
    }) {
        return Parsed::Ignored;
    }
    match serde_json::from_slice(bytes) {
        Ok(message) => Parsed::Message(Box::new(message)),
        Err(_cause) => classify_invalid(bytes),
    }
}

/// Returns whether a client's notification is handled here. For the others only the head is parsed.
fn is_handled(method: &str) -> bool {
    matches!(method, "notifications/cancelled" | "notifications/initialized")
}

/// Classifies bytes that do not parse as a message.
fn classify_invalid(bytes: &[u8]) -> Parsed {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(_cause) => {
            return Parsed::Refused(refusal(None, PARSE_ERROR, "not JSON, or nested too deeply"));
        }
    };
    let Value::Object(object) = &value else {
        let message = "a message is one object; batches are not part of the protocol any more";
        return Parsed::Refused(refusal(None, INVALID_REQUEST, message));
    };
    let has_method = object.contains_key("method");
    let raw_id = object.get("id").cloned();
    match serde_json::from_value(value) {
        Ok(message) => Parsed::Message(Box::new(message)),
        Err(_cause) if !has_method || raw_id.is_none() => Parsed::Ignored,
        Err(_cause) => {
            let id: Option<RequestId> = raw_id.and_then(|id| serde_json::from_value(id).ok());
            let message = "not a request of JSON-RPC 2.0; its id is a text or an integer, its params an object";
            Parsed::Refused(refusal(id.as_ref(), INVALID_REQUEST, message))
        }
    }
}

/// Returns the id of the request that a message cancels.
pub(crate) fn cancelled_id(message: &ClientJsonRpcMessage) -> Option<&RequestId> {
    match message {
        ClientJsonRpcMessage::Notification(notification) => match &notification.notification {
            ClientNotification::CancelledNotification(cancelled) => {
                cancelled.params.request_id.as_ref()
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_a_notice_copies_nothing() {
        let head = head(
            br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"a":[1,{"b":2}]}}"#,
        )
        .unwrap();
        assert!(head.id.is_none() && head.method() == Some("notifications/message"));
        assert!(matches!(head.method, Some(Method(Cow::Borrowed(_)))));
    }

    #[test]
    fn an_id_that_is_none_is_there_and_not_kept() {
        for (id, kept) in [
            ("7", json!(7)),
            ("-7", json!(-7)),
            (r#""x\n""#, json!("x\n")),
            ("1.5", Value::Null),
            ("null", Value::Null),
            ("true", Value::Null),
            (r#"[1,[2,{"a":3}]]"#, Value::Null),
            (r#"{"a":[1]}"#, Value::Null),
        ] {
            assert_eq!(
                head(format!(r#"{{"id":{id}}}"#).as_bytes()).unwrap().id,
                Some(kept),
                "{id}"
            );
        }
        assert_eq!(head(b"{}").unwrap().id, None);
    }

    #[test]
    fn the_id_of_a_message_is_found_in_its_beginning() {
        for (text, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"x":[1,2"#, Some(json!(7))),
            (r#"{"params":{"id":1,"a":"\"id\":2"}, "id" : "x-7" ,"me"#, Some(json!("x-7"))),
            (r#"{"id":"cut o"#, None),
            (r#"{"id":{"a":1},"x"#, None),
            (r#"{"a":"id","b":["id",3]"#, None),
            (r#"["id",7"#, None),
        ] {
            assert_eq!(
                find_id(text.as_bytes()),
                id.map(|id| serde_json::from_value(id).unwrap()),
                "{text}"
            );
        }
    }
}
