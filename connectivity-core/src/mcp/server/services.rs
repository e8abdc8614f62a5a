//! The exposed services of a router as tools.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{CallToolResult, JsonObject, ToolAnnotations};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::raw;
use super::tool::{Kind, Listed, RawForm, Spelling, Tools, failed_call, failure, sorted, success};
use crate::call::{Call, MethodDesc};
use crate::codec::{self, Codec};
use crate::error::{Error, ErrorKind, Sent};
use crate::mcp::protocol::RESULT;
use crate::name::Name;
use crate::transport::{Inbound, Listed as Callable};

/// Maximum length of a tool name.
const MAX_NAME: usize = 128;

#[derive(Debug)]
pub(super) struct Services {
    inbound: Inbound,
    /// Forms of the raw services that are tools; other raw services are not tools.
    raw_forms: HashMap<String, RawForm>,
    spelling: Spelling,
    cache: Mutex<ToolCache>,
}

/// The last list, and every tool built so far, so that each type is walked once.
#[derive(Debug, Default)]
struct ToolCache {
    version: Option<u64>,
    list: Tools,
    tools: HashMap<String, (usize, Arc<Listed>)>,
}

impl Services {
    pub(super) fn new(
        inbound: Inbound,
        raw_forms: HashMap<String, RawForm>,
        spelling: Spelling,
    ) -> Self {
        Self { inbound, raw_forms, spelling, cache: Mutex::default() }
    }

    pub(super) fn table_versions(&self) -> watch::Receiver<u64> {
        self.inbound.tables()
    }

    pub(super) fn tools(&self) -> Tools {
        // Read before the list: a table that arrives meanwhile causes a new list.
        let version = *self.inbound.tables().borrow();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.version != Some(version) {
            let callable = self.inbound.listed();
            let list =
                sorted(callable.iter().filter_map(|callable| self.cached(&mut cache, callable)));
            (cache.version, cache.list) = (Some(version), list);
        }
        Arc::clone(&cache.list)
    }

    fn cached(&self, cache: &mut ToolCache, callable: &Callable) -> Option<Arc<Listed>> {
        let identity = match callable {
            Callable::Method(method) => std::ptr::from_ref::<MethodDesc>(method).addr(),
            Callable::Raw(_) => 0,
        };
        if let Some((built_for, tool)) = cache.tools.get(callable.name())
            && *built_for == identity
        {
            return Some(Arc::clone(tool));
        }
        let tool = Arc::new(self.spelling.spell(self.build(callable)?)?);
        cache.tools.insert(callable.name().to_owned(), (identity, Arc::clone(&tool)));
        Some(tool)
    }

    fn build(&self, callable: &Callable) -> Option<Listed> {
        match callable {
            Callable::Method(method) => Some(method_tool(method)),
            Callable::Raw(name) => {
                let form = *self.raw_forms.get(name.as_str())?;
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
                if name.as_str().len() > MAX_NAME || !name.as_str().bytes().all(is_plain) {
                    tracing::warn!(
                        name = name.as_str(),
                        "no tool can have this name; the raw service is left out"
                    );
                    return None;
                }
                Some(raw::tool(name.as_str(), form))
            }
        }
    }

    pub(super) async fn call(&self, tool: &Listed, arguments: JsonObject) -> CallToolResult {
        match self.execute(tool, arguments).await {
            Ok(result) => result,
            Err(error) => failed_call(&error),
        }
    }

    async fn execute(&self, tool: &Listed, arguments: JsonObject) -> Result<CallToolResult, Error> {
        let name = tool.name();
        let fail = |kind, cause: String| Error::new(kind, name, cause).with_sent(Sent::No);
        let parsed =
            Name::parse(name).map_err(|cause| fail(ErrorKind::NotRoutable, cause.to_string()))?;
        let call = match tool.kind {
            Kind::Raw(form) => Call::raw(
                parsed,
                raw::payload(form, arguments).map_err(|cause| fail(ErrorKind::Decode, cause))?,
            ),
            _ => {
                let arguments = serde_json::to_vec(&arguments);
                Call::encoded(
                    parsed,
                    Codec::Json,
                    arguments.map_err(|cause| fail(ErrorKind::Encode, cause.to_string()))?,
                )
            }
        };
        let reply = self.inbound.send(call).await?;
        let (_, bytes) = reply.encode(name, Codec::Json)?;
        if reply.is_app_error() {
            return Ok(failure(String::from_utf8_lossy(&bytes)));
        }
        if let Kind::Raw(form) = tool.kind {
            return Ok(raw::result(form, &bytes));
        }
        let invalid_reply = |cause: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Encode, name, format!("the reply: {cause}")).with_sent(Sent::Yes)
        };
        codec::value::check(&bytes).map_err(|cause| invalid_reply(&cause))?;
        let reply = serde_json::from_slice(&bytes).map_err(|_quotes| invalid_reply(&"no JSON"))?;
        Ok(success(match (reply, tool.kind) {
            (Value::Object(object), Kind::Method { wrap: false }) => object,
            (scalar, _) => Map::from_iter([(RESULT.to_owned(), scalar)]),
        }))
    }
}

fn method_tool(method: &'static MethodDesc) -> Listed {
    let shape = method.json_shape();
    let wrap = !shape.ok().is_object();
    let mut output = shape.ok().json_schema_of_output();
    if wrap {
        let definitions = output.as_object_mut().and_then(|output| output.remove("$defs"));
        output =
            json!({ "type": "object", "properties": { RESULT: output }, "required": [RESULT] });
        if let Some(definitions) = definitions {
            output["$defs"] = definitions;
        }
    }
    let mut input = shape.arguments().json_schema();
    // The arguments of a method without any have a shape without a type.
    input["type"] = "object".into();
    output["type"] = "object".into();
    let annotations =
        ToolAnnotations::new().read_only(method.is_readonly()).idempotent(method.is_idempotent());
    // A method that only reads is not destructive; of other methods this is unknown.
    let annotations =
        if method.is_readonly() { annotations.destructive(false) } else { annotations };
    Listed::new(method.full_name(), method.doc_comment().trim(), Kind::Method { wrap })
        .schemas(input, Some(output))
        .annotated(annotations)
}
