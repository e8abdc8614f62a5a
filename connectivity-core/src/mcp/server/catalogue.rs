//! What there is to call.

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

/// A tool as clients see it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) shown: Tool,
    pub(super) kind: Kind,
    /// What it is called here, where clients may know it by a plain name.
    name: Cow<'static, str>,
}

/// How the names of tools are spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As methods and services are called.
    #[default]
    Full,
    /// With letters, digits, `_` and `-` only, 64 at most.
    Plain,
}

/// The longest plain name.
const MAX_PLAIN: usize = 64;

impl Spelling {
    /// Gives a tool the name that clients know it by; `None` if it can have none.
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
        tool.shown.name = plain.into();
        Some(tool)
    }
}

/// What a tool calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A method; its value is wrapped where it is no object.
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
        Self { shown: Tool::new_with_raw(name.clone(), docs, JsonObject::new()), kind, name }
    }

    pub(super) fn schemas(mut self, input: Value, output: Option<Value>) -> Self {
        self.shown.input_schema = Arc::new(object(input));
        self.shown.output_schema = output.map(object).map(Arc::new);
        self
    }

    pub(super) fn annotated(mut self, annotations: ToolAnnotations) -> Self {
        self.shown.annotations = Some(annotations);
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

pub(super) fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

/// All tools of a catalogue at one moment, in the order of the names that clients know them by.
pub(super) type Tools = Arc<Vec<Arc<Listed>>>;

/// Brings tools in the order of their names, and leaves those out whose name is taken.
pub(super) fn in_order(tools: impl Iterator<Item = Arc<Listed>>) -> Tools {
    let mut tools: Vec<_> = tools.collect();
    tools.sort_by(|one, other| one.shown.name.cmp(&other.shown.name));
    tools.dedup_by(|second, first| {
        let is_taken = second.shown.name == first.shown.name;
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

/// A set of tools; those of the admin are never among the others.
#[derive(Debug)]
pub(super) enum Catalogue {
    Services(Services),
    #[cfg(feature = "sqlite")]
    Admin(AdminTools),
}

impl Catalogue {
    /// All tools, by name.
    pub(super) fn tools(&self) -> Tools {
        match self {
            Self::Services(services) => services.tools(),
            #[cfg(feature = "sqlite")]
            Self::Admin(admin) => admin.tools(),
        }
    }

    pub(super) fn tool(&self, name: &str) -> Option<Arc<Listed>> {
        let tools = self.tools();
        let at = tools.binary_search_by(|tool| (*tool.shown.name).cmp(name)).ok()?;
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

    /// Says whether whoever calls must have been authenticated, or be on this machine.
    pub(super) fn is_guarded(&self) -> bool {
        match self {
            Self::Services(_) => false,
            #[cfg(feature = "sqlite")]
            Self::Admin(_) => true,
        }
    }

    pub(super) fn changes(&self) -> Changes<'_> {
        self.changes_since(self.tools())
    }

    /// Waits for changes of a list that was seen before.
    pub(super) fn changes_since(&self, seen: Tools) -> Changes<'_> {
        let tables = match self {
            Self::Services(services) => Some(services.tables()),
            #[cfg(feature = "sqlite")]
            Self::Admin(_) => None,
        };
        Changes { catalogue: self, tables, seen }
    }
}

/// Waits for changes of the list.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    catalogue: &'a Catalogue,
    tables: Option<watch::Receiver<u64>>,
    seen: Tools,
}

impl Changes<'_> {
    /// Waits until the list is another than it was.
    pub(super) async fn next(&mut self) {
        let Some(tables) = &mut self.tables else { return std::future::pending().await };
        loop {
            let now = self.catalogue.tools();
            let same = now.len() == self.seen.len()
                && now.iter().zip(&*self.seen).all(|(one, other)| Arc::ptr_eq(one, other));
            if !same {
                self.seen = now;
                return;
            }
            if tables.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// The result of a call that has a value: an object.
pub(super) fn value(object: JsonObject) -> CallToolResult {
    CallToolResult::structured(Value::Object(object))
}

/// The result of a call that failed, as a text for whoever called. A structured one would have to
/// be of the schema of the value.
pub(super) fn failed(text: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// The result of a call that got no answer: `{"kind","name","message","sent"}`.
pub(super) fn refused(error: &Error) -> CallToolResult {
    #[derive(Serialize)]
    struct FailedCall<'a> {
        kind: &'static str,
        name: &'a str,
        message: &'a str,
        sent: &'static str,
    }
    let (kind, sent) = (error.kind().as_str(), error.sent().as_str());
    let refusal = FailedCall { kind, name: error.name(), message: error.message(), sent };
    failed(serde_json::to_string(&refusal).unwrap_or_else(|_| error.to_string()))
}
