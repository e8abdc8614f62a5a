//! One message of a client: understood, answered at once, or passed over.

use std::borrow::Cow;
use std::fmt;

use rmcp::model::{ClientJsonRpcMessage, ClientNotification, RequestId};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::error::ErrorKind;

/// What to do with a message.
#[derive(Debug)]
pub(crate) enum Read {
    /// The session takes it.
    Message(Box<ClientJsonRpcMessage>),
    /// It is refused with this answer.
    Refused(Value),
    /// It is none of the messages that are answered: a notification, or an answer to a question
    /// that nobody asked.
    PassedOver,
}

/// The codes of JSON-RPC, and ours for a session with too many calls.
pub(crate) const PARSE_ERROR: i32 = -32700;
pub(crate) const INVALID_REQUEST: i32 = -32600;
pub(crate) const OVERLOADED: i32 = -32000;

/// Makes the answer that refuses a message.
pub(crate) fn refusal(id: Option<&RequestId>, code: i32, message: &str) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if code == OVERLOADED {
        error["data"] = kind(ErrorKind::Overloaded);
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

/// Makes the answer to a request that is too large to be looked at.
pub(crate) fn too_large(id: Option<&RequestId>, message: &str) -> Value {
    let mut refused = refusal(id, INVALID_REQUEST, message);
    refused["error"]["data"] = kind(ErrorKind::TooLarge);
    refused
}

/// What a message is about.
#[derive(Deserialize)]
pub(crate) struct Head<'a> {
    /// Also an id that is none, such as null.
    #[serde(default, deserialize_with = "there")]
    pub(crate) id: Option<Value>,
    #[serde(default, borrow)]
    method: Option<Method<'a>>,
}

/// Borrows the text where it has no escapes, which serde does for a `Cow` itself but not for one in
/// an `Option`.
#[derive(Deserialize)]
struct Method<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads an id that is there. What can be none is looked through without being kept: a peer may
/// make it as long as a message.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    deserializer.deserialize_any(IdVisitor).map(Some)
}

/// Keeps numbers and texts; anything else is null.
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

    /// The id that an answer has to name.
    pub(crate) fn request_id(self) -> Option<RequestId> {
        serde_json::from_value(self.id?).ok()
    }
}

/// Reads what a message is about, for next to nothing; `None` where that is in no usual form.
pub(crate) fn head(bytes: &[u8]) -> Option<Head<'_>> {
    serde_json::from_slice(bytes).ok()
}

/// Finds the id in the first bytes of a message: its value, if it is whole, of the key of the
/// outermost object.
pub(crate) fn id_in(beginning: &[u8]) -> Option<RequestId> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in beginning.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                let key =
                    beginning[at..].strip_prefix(b"\"id\"").filter(|_| depth == 1 && !in_string);
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

/// Makes the answer to a request that came while the session ends.
pub(crate) fn too_late(id: &RequestId) -> Value {
    let mut refused = refusal(Some(id), OVERLOADED, "the server stops, and takes no more requests");
    refused["error"]["data"] = kind(ErrorKind::Closed);
    refused
}

/// What stands beside the code of an error where a call did not run: the kind it is for a caller of
/// ours.
pub(crate) fn kind(kind: ErrorKind) -> Value {
    json!({ "kind": kind.as_str() })
}

/// Understands a message. A parser that bounds the depth reads it.
pub(crate) fn read(bytes: &[u8]) -> Read {
    if head(bytes).is_some_and(|head| {
        head.id.is_none() && head.method().is_some_and(|method| !is_heard(method))
    }) {
        return Read::PassedOver;
    }
    match serde_json::from_slice(bytes) {
        Ok(message) => Read::Message(Box::new(message)),
        Err(_cause) => misread(bytes),
    }
}

/// The notices of a client that mean something here. The others cost no more than a look.
fn is_heard(method: &str) -> bool {
    matches!(method, "notifications/cancelled" | "notifications/initialized")
}

/// Says what is wrong with what is no message.
fn misread(bytes: &[u8]) -> Read {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(_cause) => {
            return Read::Refused(refusal(None, PARSE_ERROR, "not JSON, or nested too deeply"));
        }
    };
    let Value::Object(object) = &value else {
        let message = "a message is one object; batches are not part of the protocol any more";
        return Read::Refused(refusal(None, INVALID_REQUEST, message));
    };
    let asks = object.contains_key("method");
    let given = object.get("id").cloned();
    match serde_json::from_value(value) {
        Ok(message) => Read::Message(Box::new(message)),
        Err(_cause) if !asks || given.is_none() => Read::PassedOver,
        Err(_cause) => {
            let id: Option<RequestId> = given.and_then(|id| serde_json::from_value(id).ok());
            let message = "not a request of JSON-RPC 2.0; its id is a text or an integer, its params an object";
            Read::Refused(refusal(id.as_ref(), INVALID_REQUEST, message))
        }
    }
}

/// The request that a message cancels.
pub(crate) fn cancels(message: &ClientJsonRpcMessage) -> Option<&RequestId> {
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
        let looked = head(
            br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"a":[1,{"b":2}]}}"#,
        )
        .unwrap();
        assert!(looked.id.is_none() && looked.method() == Some("notifications/message"));
        assert!(matches!(looked.method, Some(Method(Cow::Borrowed(_)))));
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
                id_in(text.as_bytes()),
                id.map(|id| serde_json::from_value(id).unwrap()),
                "{text}"
            );
        }
    }
}
