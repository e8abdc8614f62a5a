//! The exposed services of a router as tools.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{CallToolResult, JsonObject, ToolAnnotations};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::RawForm;
use super::catalogue::{Kind, Listed, Spelling, Tools, failed, in_order, refused, value};
use super::raw;
use crate::call::{Call, MethodDesc};
use crate::codec::{self, Codec};
use crate::error::{Error, ErrorKind, Sent};
use crate::mcp::protocol::RESULT;
use crate::name::Name;
use crate::transport::{Inbound, Listed as Callable};

/// The longest name of a tool.
const MAX_NAME: usize = 128;

#[derive(Debug)]
pub(super) struct Services {
    inbound: Inbound,
    /// What raw services look like; the others are no tools.
    raw: HashMap<String, RawForm>,
    spelling: Spelling,
    known: Mutex<ToolCache>,
}

/// What was listed last, and every tool that was ever made: a type is walked once.
#[derive(Debug, Default)]
struct ToolCache {
    table: Option<u64>,
    list: Tools,
    made: HashMap<String, (usize, Arc<Listed>)>,
}

impl Services {
    pub(super) fn new(inbound: Inbound, raw: HashMap<String, RawForm>, spelling: Spelling) -> Self {
        Self { inbound, raw, spelling, known: Mutex::default() }
    }

    pub(super) fn tables(&self) -> watch::Receiver<u64> {
        self.inbound.tables()
    }

    pub(super) fn tools(&self) -> Tools {
        // Before the list, so that a table that comes meanwhile makes another one.
        let table = *self.inbound.tables().borrow();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.table != Some(table) {
            let callable = self.inbound.listed();
            let list =
                in_order(callable.iter().filter_map(|callable| self.made(&mut known, callable)));
            (known.table, known.list) = (Some(table), list);
        }
        Arc::clone(&known.list)
    }

    fn made(&self, known: &mut ToolCache, callable: &Callable) -> Option<Arc<Listed>> {
        let identity = match callable {
            Callable::Method(method) => std::ptr::from_ref::<MethodDesc>(method).addr(),
            Callable::Raw(_) => 0,
        };
        if let Some((made, tool)) = known.made.get(callable.name())
            && *made == identity
        {
            return Some(Arc::clone(tool));
        }
        let tool = Arc::new(self.spelling.spell(self.make(callable)?)?);
        known.made.insert(callable.name().to_owned(), (identity, Arc::clone(&tool)));
        Some(tool)
    }

    fn make(&self, callable: &Callable) -> Option<Listed> {
        match callable {
            Callable::Method(method) => Some(of_method(method)),
            Callable::Raw(name) => {
                let form = *self.raw.get(name.as_str())?;
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
                if name.as_str().len() > MAX_NAME || !name.as_str().bytes().all(plain) {
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
        match self.answer(tool, arguments).await {
            Ok(result) => result,
            Err(error) => refused(&error),
        }
    }

    async fn answer(&self, tool: &Listed, arguments: JsonObject) -> Result<CallToolResult, Error> {
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
            return Ok(failed(String::from_utf8_lossy(&bytes)));
        }
        if let Kind::Raw(form) = tool.kind {
            return Ok(raw::result(form, &bytes));
        }
        let unfit = |cause: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Encode, name, format!("the reply: {cause}")).with_sent(Sent::Yes)
        };
        codec::value::check(&bytes).map_err(|cause| unfit(&cause))?;
        let reply = serde_json::from_slice(&bytes).map_err(|_quotes| unfit(&"no JSON"))?;
        Ok(value(match (reply, tool.kind) {
            (Value::Object(object), Kind::Method { wrap: false }) => object,
            (scalar, _) => Map::from_iter([(RESULT.to_owned(), scalar)]),
        }))
    }
}

fn of_method(method: &'static MethodDesc) -> Listed {
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
    // A method without arguments has a shape of nothing.
    input["type"] = "object".into();
    output["type"] = "object".into();
    let annotations =
        ToolAnnotations::new().read_only(method.is_readonly()).idempotent(method.is_idempotent());
    // What only reads destroys nothing; of the others nobody has said.
    let annotations =
        if method.is_readonly() { annotations.destructive(false) } else { annotations };
    Listed::new(method.full_name(), method.doc_comment().trim(), Kind::Method { wrap })
        .schemas(input, Some(output))
        .annotated(annotations)
}
