//! Raw services as tools: their bytes in JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject};
use serde_json::{Map, Value, json};

use super::tool::{Kind, Listed, RawForm, success};

pub(super) fn tool(name: &str, form: RawForm) -> Listed {
    let listed = |docs: &'static str| Listed::new(name.to_owned(), docs, Kind::Raw(form));
    let bytes = json!({
        "type": "object",
        "properties": { "text": { "type": "string" }, "base64": { "type": "string", "contentEncoding": "base64" } },
        "minProperties": 1, "maxProperties": 1, "additionalProperties": false
    });
    match form {
        RawForm::Json => listed("A service without a contract: it takes any JSON object.")
            .schemas(json!({ "type": "object" }), None),
        RawForm::Bytes => listed("A service of bytes: as `text`, or as `base64`.")
            .schemas(bytes.clone(), Some(bytes)),
    }
}

/// Returns the bytes of a call.
pub(super) fn payload(form: RawForm, mut arguments: JsonObject) -> Result<Vec<u8>, String> {
    if form == RawForm::Json {
        return serde_json::to_vec(&arguments).map_err(|cause| cause.to_string());
    }
    match (arguments.remove("text"), arguments.remove("base64")) {
        (Some(Value::String(text)), None) if arguments.is_empty() => Ok(text.into_bytes()),
        (None, Some(Value::String(text))) if arguments.is_empty() => {
            STANDARD.decode(text).map_err(|cause| format!("base64: {cause}"))
        }
        _ => Err("the arguments are `text` or `base64`, one of them, a text".to_owned()),
    }
}

/// Returns the result for the bytes of a reply.
pub(super) fn result(form: RawForm, bytes: &[u8]) -> CallToolResult {
    match (form, std::str::from_utf8(bytes)) {
        (RawForm::Json, text) => match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => success(object),
            _ => CallToolResult::success(vec![ContentBlock::text(
                text.map_or_else(|_| STANDARD.encode(bytes), str::to_owned),
            )]),
        },
        (RawForm::Bytes, Ok(text)) => success(Map::from_iter([("text".to_owned(), text.into())])),
        (RawForm::Bytes, Err(_)) => {
            success(Map::from_iter([("base64".to_owned(), STANDARD.encode(bytes).into())]))
        }
    }
}
