//! One message of a client: understood, answered at once, or passed over.

use rmcp::model::{ClientJsonRpcMessage, ClientNotification, RequestId};
use serde_json::{Value, json};

use crate::error::ErrorKind;

/// What to do with a message.
#[derive(Debug)]
pub(super) enum Read {
    /// The session takes it.
    Message(Box<ClientJsonRpcMessage>),
    /// It is refused with this answer.
    Refused(Value),
    /// It is none of the messages that are answered: a notification, or an answer to a question that nobody asked.
    PassedOver,
}

/// The codes of JSON-RPC, and ours for a session with too many calls.
pub(super) const PARSE_ERROR: i32 = -32700;
pub(super) const INVALID_REQUEST: i32 = -32600;
pub(super) const OVERLOADED: i32 = -32000;

/// Makes the answer that refuses a message.
pub(super) fn refusal(id: Option<&RequestId>, code: i32, message: &str) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if code == OVERLOADED {
        error["data"] = kind(ErrorKind::Overloaded);
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

/// Makes the answer to a request that came while the session ends.
pub(super) fn too_late(id: &RequestId) -> Value {
    let mut refused = refusal(Some(id), OVERLOADED, "the server stops, and takes no more requests");
    refused["error"]["data"] = kind(ErrorKind::Closed);
    refused
}

/// What stands beside the code of an error where a call did not run: the kind it is for a caller of ours.
pub(super) fn kind(kind: ErrorKind) -> Value {
    json!({ "kind": kind.as_str() })
}

/// Understands a message. A parser that bounds the depth reads it.
pub(super) fn read(bytes: &[u8]) -> Read {
    match serde_json::from_slice(bytes) {
        Ok(message) => Read::Message(Box::new(message)),
        Err(_cause) => misread(bytes),
    }
}

/// Says what is wrong with what is no message.
fn misread(bytes: &[u8]) -> Read {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(_cause) => return Read::Refused(refusal(None, PARSE_ERROR, "not JSON, or nested too deeply")),
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
pub(super) fn cancels(message: &ClientJsonRpcMessage) -> Option<&RequestId> {
    match message {
        ClientJsonRpcMessage::Notification(notification) => match &notification.notification {
            ClientNotification::CancelledNotification(cancelled) => cancelled.params.request_id.as_ref(),
            _ => None,
        },
        _ => None,
    }
}
