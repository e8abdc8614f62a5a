//! Catalogue of the tools that a server offers.

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

#[cfg(feature = "sqlite")]
use super::admin::AdminTools;
use super::services::Services;
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
    Raw(super::RawForm),
    /// A tool of the admin catalogue.
    #[cfg(feature = "sqlite")]
    Admin(super::admin::Action),
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

/// A set of tools. Admin tools are never mixed with services.
#[derive(Debug)]
pub(super) enum Catalogue {
    Services(Services),
    #[cfg(feature = "sqlite")]
    Admin(AdminTools),
}

impl Catalogue {
    /// Returns all tools, sorted by name.
    pub(super) fn tools(&self) -> Tools {
        match self {
            Self::Services(services) => services.tools(),
            #[cfg(feature = "sqlite")]
            Self::Admin(admin) => admin.tools(),
        }
    }

    pub(super) fn tool(&self, name: &str) -> Option<Arc<Listed>> {
        let tools = self.tools();
        let at = tools.binary_search_by(|tool| (*tool.definition.name).cmp(name)).ok()?;
        tools.get(at).cloned()
    }

    /// Calls a tool in the current context.
    pub(super) async fn call(&self, tool: &Listed, arguments: JsonObject) -> CallToolResult {
        match self {
            Self::Services(services) => services.call(tool, arguments).await,
            #[cfg(feature = "sqlite")]
            Self::Admin(admin) => admin.call(tool, arguments).await,
        }
    }

    /// Returns whether a caller must be authenticated or on this machine.
    pub(super) fn requires_auth(&self) -> bool {
        match self {
            Self::Services(_) => false,
            #[cfg(feature = "sqlite")]
            Self::Admin(_) => true,
        }
    }

    pub(super) fn changes(&self) -> Changes<'_> {
        self.changes_since(self.tools())
    }

    /// Watches for changes of a list that was seen before.
    pub(super) fn changes_since(&self, seen: Tools) -> Changes<'_> {
        let table_versions = match self {
            Self::Services(services) => Some(services.table_versions()),
            #[cfg(feature = "sqlite")]
            Self::Admin(_) => None,
        };
        Changes { catalogue: self, table_versions, seen }
    }
}

/// Watcher of the tool list.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    catalogue: &'a Catalogue,
    table_versions: Option<watch::Receiver<u64>>,
    seen: Tools,
}

impl Changes<'_> {
    /// Waits until the list differs from the one seen last.
    pub(super) async fn next(&mut self) {
        let Some(table_versions) = &mut self.table_versions else {
            return std::future::pending().await;
        };
        loop {
            let now = self.catalogue.tools();
            let same = now.len() == self.seen.len()
                && now.iter().zip(&*self.seen).all(|(one, other)| Arc::ptr_eq(one, other));
            if !same {
                self.seen = now;
                return;
            }
            if table_versions.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
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
