//! What rmcp asks of a session: which tools there are, and to call one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
    CustomRequest, CustomResult, ErrorCode, ErrorData, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, RequestId, RequestMetaObject, ServerCapabilities,
    ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::Value;
use tokio::time::Instant;

use super::Inner;
use super::catalogue::{Listed, Tools, refused};
use super::line::{Line, Stage};
use crate::context::{self, Context, Peer};
use crate::error::{Error, ErrorKind, Sent};
use crate::mcp::protocol::message::{OVERLOADED, kind};
use crate::mcp::protocol::{OURS, TIMEOUT_MS, TRACE_PARENT};
use crate::name::shown;

/// How long a client may take a list of tools for fresh, in milliseconds; who listens for changes
/// hears of them at once.
const LIST_TTL_MS: u64 = 5_000;

/// The requests of the protocol that there is a handler for: with params that it cannot read they
/// are wrong, not unknown.
const KNOWN: &[&str] =
    &["initialize", "ping", "tools/call", "tools/list", "server/discover", "subscriptions/listen"];

/// One session, or one request over HTTP.
#[derive(Clone, Debug)]
pub(super) struct Session {
    inner: Arc<Inner>,
    peer: Option<Peer>,
    line: Option<Arc<Line>>,
    /// The tools that the client was told of last: it listens for changes of these.
    told: Arc<Mutex<Tools>>,
}

impl Session {
    /// A session over a stream.
    pub(super) fn new(inner: Arc<Inner>, peer: Option<Peer>, line: Arc<Line>) -> Self {
        let told = Arc::new(Mutex::new(inner.catalogue.tools()));
        Self { inner, peer, line: Some(line), told }
    }

    /// A request over HTTP, which tells itself who sent it.
    pub(super) fn over_http(inner: Arc<Inner>, line: Option<Arc<Line>>) -> Self {
        let told = Arc::new(Mutex::new(inner.catalogue.tools()));
        Self { inner, peer: None, line, told }
    }

    /// What travels with a call: who sent it, until when, and the trace that it is a part of.
    fn context(&self, request: &RequestContext<RoleServer>) -> Context {
        let parts = request.extensions.get::<http::request::Parts>();
        let mut context =
            parts.and_then(|parts| parts.extensions.get::<Context>()).cloned().unwrap_or_default();
        let peer = self.peer.as_ref().or_else(|| parts?.extensions.get::<Peer>());
        if let Some(peer) = peer {
            context = context.with_peer(peer.clone());
        }
        if let Some(trace_parent) = text(&request.meta, TRACE_PARENT) {
            context = context.with_trace_parent(trace_parent);
        }
        let asked = request.meta.get(TIMEOUT_MS).and_then(Value::as_u64).map(Duration::from_millis);
        context.with_timeout(
            asked.map_or(self.inner.timeout, |asked| asked.min(self.inner.max_timeout)),
        )
    }

    /// Calls a tool where its implementation belongs.
    async fn call(
        &self,
        id: &RequestId,
        tool: Arc<Listed>,
        context: Context,
        arguments: JsonObject,
    ) -> Result<CallToolResult, ErrorData> {
        let (session, id, called) = (self.clone(), id.clone(), Arc::clone(&tool));
        let deadline = context.deadline();
        let work = context::scope(context, async move {
            session.with_room(&id, deadline, session.inner.catalogue.call(&called, arguments)).await
        });
        let result = self.inner.work.run(tool.name(), 0, work).await;
        result.unwrap_or_else(|| {
            let error = Error::new(ErrorKind::Cancelled, tool.name(), "the work was cancelled");
            Ok(refused(&error.with_sent(Sent::Maybe)))
        })
    }

    /// Runs a call once there is room for its answer. Nothing comes between the two: of many calls
    /// that wait, those that find no room any more wait on.
    async fn with_room(
        &self,
        id: &RequestId,
        deadline: Option<Instant>,
        call: impl Future<Output = CallToolResult>,
    ) -> Result<CallToolResult, ErrorData> {
        let Some(line) = &self.line else { return Ok(call.await) };
        match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, line.room())
                .await
                .map_err(|_elapsed| not_begun())?,
            None => line.room().await,
        }
        let result = call.await;
        line.made(id, size(&result));
        Ok(result)
    }

    fn told(&self) -> MutexGuard<'_, Tools> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody waits for answers any more.
    async fn gone(&self, stage: Stage) {
        match &self.line {
            Some(line) => line.reached(stage).await,
            None => std::future::pending().await,
        }
    }
}

fn text<'a>(meta: &'a RequestMetaObject, key: &str) -> Option<&'a str> {
    meta.get(key).and_then(Value::as_str)
}

impl ServerHandler for Session {
    fn get_info(&self) -> ServerConfig {
        let ours = BTreeMap::from([(OURS.to_owned(), serde_json::Map::new())]);
        let capabilities = ServerCapabilities::builder().enable_experimental_with(ours);
        let capabilities = capabilities.enable_tools().enable_tool_list_changed().build();
        let server = Implementation::new("connectivity", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities)
            .with_server_info(server)
            // What a client gets that offers a version that we do not know, as from the Go
            // original.
            .with_protocol_version(ProtocolVersion::V_2025_06_18)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _request: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let now = self.inner.catalogue.tools();
        let tools = now.iter().map(|tool| tool.shown.clone()).collect();
        *self.told() = now;
        Ok(ListToolsResult::with_all_items(tools)
            .with_ttl_ms(LIST_TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.inner.catalogue.tool(name).map(|tool| tool.shown.clone())
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        request: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.inner.catalogue.tool(&params.name) else {
            let message = format!("there is no tool {}", shown(&params.name));
            return Err(ErrorData::invalid_params(message, Some(kind(ErrorKind::NotRoutable))));
        };
        let context = self.context(&request);
        let arguments = params.arguments.unwrap_or_default();
        tokio::select! {
            biased;
            () = request.ct.cancelled() => Err(nobody_waits()),
            () = self.gone(Stage::Gone) => Err(nobody_waits()),
            result = self.call(&request.id, tool, context, arguments) => result.map(Into::into),
        }
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    /// Tells of changes until the client or the session ends it.
    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let told = Arc::clone(&self.told());
        let mut changes = self.inner.catalogue.changes_since(told);
        loop {
            tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                () = self.gone(Stage::Ending) => return Ok(()),
                () = changes.next() => {}
            }
            if subscription.sink().notify_tool_list_changed().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = shown(&request.method);
        Err(if KNOWN.contains(&request.method.as_str()) {
            ErrorData::invalid_params(format!("the params are none of {method}"), None)
        } else {
            ErrorData::new(
                ErrorCode::METHOD_NOT_FOUND,
                format!("there is no method {method}"),
                None,
            )
        })
    }
}

/// About how long an answer is: its texts say all of it, and its structured content says that
/// again.
pub(super) fn size(result: &CallToolResult) -> usize {
    let texts = result.content.iter().filter_map(ContentBlock::as_text);
    2 * texts.map(|text| text.text.len()).sum::<usize>()
}

/// The answer to a call whose time has passed before there was room for its answer.
fn not_begun() -> ErrorData {
    let message = "the answers of this session are not read fast enough";
    ErrorData::new(ErrorCode(OVERLOADED), message, Some(kind(ErrorKind::Overloaded)))
}

/// The answer to a call whose client has cancelled it, or has gone. It is not sent.
fn nobody_waits() -> ErrorData {
    ErrorData::internal_error("cancelled", None)
}
