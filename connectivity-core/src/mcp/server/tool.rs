//! A tool: its definition, its target, and the results of its calls.

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations};
use serde::Serialize;
use serde_json::Value;

#[cfg(feature = "sqlite")]
use super::admin::actions::Action;
use crate::error::Error;

/// A tool, as it is listed to clients.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) definition: Tool,
    pub(super) kind: Kind,
    /// Name of the method, raw service or admin tool. Clients may know the tool by a plain name.
    name: Cow<'static, str>,
}

/// Spelling of tool names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Spelling {
    /// The full names of methods and services.
    #[default]
    Full,
    /// Letters, digits, `_` and `-` only, at most 64 characters.
    Plain,
}

/// Maximum length of a plain name.
const MAX_PLAIN: usize = 64;

impl Spelling {
    /// Sets the name by which clients know a tool. Returns `None` if it cannot have a name.
    pub(super) fn spell(self, mut tool: Listed) -> Option<Listed> {
        if self == Self::Full {
            return Some(tool);
        }
        let plain = tool.name().replace('.', "__");
        if plain.len() > MAX_PLAIN {
            tracing::warn!(
                tool = tool.name(),
                "its plain name is longer than 64 characters; it is left out"
            );
            return None;
        }
        tool.definition.name = plain.into();
        Some(tool)
    }
}

/// Target of a tool.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A method. If `wrap` is true, its value is not an object and has to be wrapped.
    Method { wrap: bool },
    /// A raw service.
    Raw(RawForm),
    /// A tool of the admin catalogue.
    #[cfg(feature = "sqlite")]
    Admin(Action),
}

/// Representation of the bytes of a raw service in the JSON of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RawForm {
    /// The bytes of the call are the arguments as a whole, an object, as a Go peer sends them. A
    /// reply that is a JSON object is the result; any other reply is its text.
    Json,
    /// The bytes of the call are the argument `text` or `base64`. The bytes of the reply are too:
    /// `text` if they are UTF-8.
    Bytes,
}

impl Listed {
    pub(super) fn new(
        name: impl Into<Cow<'static, str>>,
        docs: impl Into<Cow<'static, str>>,
        kind: Kind,
    ) -> Self {
        let (name, docs) = (name.into(), docs.into());
        let docs = Some(docs).filter(|docs| !docs.is_empty());
        Self { definition: Tool::new_with_raw(name.clone(), docs, JsonObject::new()), kind, name }
    }

    pub(super) fn schemas(mut self, input: Value, output: Option<Value>) -> Self {
        self.definition.input_schema = Arc::new(into_object(input));
        self.definition.output_schema = output.map(into_object).map(Arc::new);
        self
    }

    pub(super) fn annotated(mut self, annotations: ToolAnnotations) -> Self {
        self.definition.annotations = Some(annotations);
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

pub(super) fn into_object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

/// Snapshot of all tools of a catalogue, sorted by the names that clients know.
pub(super) type Tools = Arc<Vec<Arc<Listed>>>;

/// Sorts tools by name, and leaves out every tool whose name is taken.
pub(super) fn sorted(tools: impl Iterator<Item = Arc<Listed>>) -> Tools {
    let mut tools: Vec<_> = tools.collect();
    tools.sort_by(|one, other| one.definition.name.cmp(&other.definition.name));
    tools.dedup_by(|second, first| {
        let is_taken = second.definition.name == first.definition.name;
        if is_taken {
            tracing::warn!(
                tool = second.name(),
                other = first.name(),
                "two tools have one name; the second is left out"
            );
        }
        is_taken
    });
    Arc::new(tools)
}

/// Returns the result of a call with a value, which is an object.
pub(super) fn success(object: JsonObject) -> CallToolResult {
    CallToolResult::structured(Value::Object(object))
}

/// Returns the result of a failed call, as a text. Structured content would have to match the
/// schema of the value.
pub(super) fn failure(text: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// Returns the result of a call without a reply: `{"kind","name","message","sent"}`.
pub(super) fn failed_call(error: &Error) -> CallToolResult {
    #[derive(Serialize)]
    struct FailedCall<'a> {
        kind: &'static str,
        name: &'a str,
        message: &'a str,
        sent: &'static str,
    }
    let (kind, sent) = (error.kind().as_str(), error.sent().as_str());
    let refusal = FailedCall { kind, name: error.name(), message: error.message(), sent };
    failure(serde_json::to_string(&refusal).unwrap_or_else(|_| error.to_string()))
}
