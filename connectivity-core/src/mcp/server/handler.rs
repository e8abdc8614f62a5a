//! Handler that rmcp calls for the requests of a session: lists tools and calls them.

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
use super::line::{Line, Stage};
use super::tool::{Listed, Tools, failed_call};
use crate::context::{self, Context, Peer};
use crate::error::{Error, ErrorKind, Sent};
use crate::mcp::protocol::message::{OVERLOADED, error_data};
use crate::mcp::protocol::{CAPABILITY, TIMEOUT_MS, TRACE_PARENT};
use crate::name::shown;

/// How long a client may cache the tool list, in milliseconds. Clients that listen for changes are
/// notified at once.
const LIST_TTL_MS: u64 = 5_000;

/// Requests that have a handler. If their params cannot be parsed, the error is invalid params, not
/// an unknown method.
const HANDLED_METHODS: &[&str] =
    &["initialize", "ping", "tools/call", "tools/list", "server/discover", "subscriptions/listen"];

/// Handler of one session, or of one request over HTTP.
#[derive(Clone, Debug)]
pub(super) struct Session {
    inner: Arc<Inner>,
    peer: Option<Peer>,
    line: Option<Arc<Line>>,
    /// The tool list sent to the client last; the client is notified of changes to it.
    last_list: Arc<Mutex<Tools>>,
}

impl Session {
    /// Creates the handler of a session over a stream.
    pub(super) fn new(inner: Arc<Inner>, peer: Option<Peer>, line: Arc<Line>) -> Self {
        let last_list = Arc::new(Mutex::new(inner.catalogue.tools()));
        Self { inner, peer, line: Some(line), last_list }
    }

    /// Creates the handler of a request over HTTP, whose extensions name its peer.
    pub(super) fn over_http(inner: Arc<Inner>, line: Option<Arc<Line>>) -> Self {
        let last_list = Arc::new(Mutex::new(inner.catalogue.tools()));
        Self { inner, peer: None, line, last_list }
    }

    /// Returns the context of a call: its peer, its deadline and its trace.
    fn context(&self, request: &RequestContext<RoleServer>) -> Context {
        let parts = request.extensions.get::<http::request::Parts>();
        let mut context =
            parts.and_then(|parts| parts.extensions.get::<Context>()).cloned().unwrap_or_default();
        let peer = self.peer.as_ref().or_else(|| parts?.extensions.get::<Peer>());
        if let Some(peer) = peer {
            context = context.with_peer(peer.clone());
        }
        if let Some(trace_parent) = meta_text(&request.meta, TRACE_PARENT) {
            context = context.with_trace_parent(trace_parent);
        }
        let requested =
            request.meta.get(TIMEOUT_MS).and_then(Value::as_u64).map(Duration::from_millis);
        context.with_timeout(
            requested.map_or(self.inner.timeout, |requested| requested.min(self.inner.max_timeout)),
        )
    }

    /// Calls a tool on the runtime of its implementation.
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
            session
                .with_backpressure(&id, deadline, session.inner.catalogue.call(&called, arguments))
                .await
        });
        let result = self.inner.work.run(tool.name(), 0, work).await;
        result.unwrap_or_else(|| {
            let error = Error::new(ErrorKind::Cancelled, tool.name(), "the work was cancelled");
            Ok(failed_call(&error.with_sent(Sent::Maybe)))
        })
    }

    /// Runs a call once the unsent replies of the session are under the limit. Nothing runs between
    /// the check and the call: of many waiting calls, those that exceed the limit keep waiting.
    async fn with_backpressure(
        &self,
        id: &RequestId,
        deadline: Option<Instant>,
        call: impl Future<Output = CallToolResult>,
    ) -> Result<CallToolResult, ErrorData> {
        let Some(line) = &self.line else { return Ok(call.await) };
        match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, line.wait_capacity())
                .await
                .map_err(|_elapsed| not_started())?,
            None => line.wait_capacity().await,
        }
        let result = call.await;
        line.reply_ready(id, encoded_size(&result));
        Ok(result)
    }

    fn last_list(&self) -> MutexGuard<'_, Tools> {
        self.last_list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the session has reached a stage. Without a [`Line`], never completes.
    async fn wait_stage(&self, stage: Stage) {
        match &self.line {
            Some(line) => line.wait_stage(stage).await,
            None => std::future::pending().await,
        }
    }
}

fn meta_text<'a>(meta: &'a RequestMetaObject, key: &str) -> Option<&'a str> {
    meta.get(key).and_then(Value::as_str)
}

impl ServerHandler for Session {
    fn get_info(&self) -> ServerConfig {
        let experimental = BTreeMap::from([(CAPABILITY.to_owned(), serde_json::Map::new())]);
        let capabilities = ServerCapabilities::builder().enable_experimental_with(experimental);
        let capabilities = capabilities.enable_tools().enable_tool_list_changed().build();
        let server = Implementation::new("connectivity", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities)
            .with_server_info(server)
            // Version for a client that offers an unknown one, as in the Go original.
            .with_protocol_version(ProtocolVersion::V_2025_06_18)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _request: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let now = self.inner.catalogue.tools();
        let tools = now.iter().map(|tool| tool.definition.clone()).collect();
        *self.last_list() = now;
        Ok(ListToolsResult::with_all_items(tools)
            .with_ttl_ms(LIST_TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.inner.catalogue.tool(name).map(|tool| tool.definition.clone())
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        request: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.inner.catalogue.tool(&params.name) else {
            let message = format!("there is no tool {}", shown(&params.name));
            return Err(ErrorData::invalid_params(
                message,
                Some(error_data(ErrorKind::NotRoutable)),
            ));
        };
        let context = self.context(&request);
        let arguments = params.arguments.unwrap_or_default();
        tokio::select! {
            biased;
            () = request.ct.cancelled() => Err(cancelled()),
            () = self.wait_stage(Stage::Gone) => Err(cancelled()),
            result = self.call(&request.id, tool, context, arguments) => result.map(Into::into),
        }
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    /// Notifies the client of changes until the client or the session ends the subscription.
    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let last_list = Arc::clone(&self.last_list());
        let mut changes = self.inner.catalogue.changes_since(last_list);
        loop {
            tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                () = self.wait_stage(Stage::Ending) => return Ok(()),
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
        Err(if HANDLED_METHODS.contains(&request.method.as_str()) {
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

/// Estimates the encoded size of a reply: its text blocks hold the whole value, and its structured
/// content repeats it.
pub(super) fn encoded_size(result: &CallToolResult) -> usize {
    let texts = result.content.iter().filter_map(ContentBlock::as_text);
    2 * texts.map(|text| text.text.len()).sum::<usize>()
}

/// Returns the error of a call whose deadline passed while replies waited to be sent.
fn not_started() -> ErrorData {
    let message = "the answers of this session are not read fast enough";
    ErrorData::new(ErrorCode(OVERLOADED), message, Some(error_data(ErrorKind::Overloaded)))
}

/// Returns the error of a call whose client has cancelled it or has gone. It is never sent.
fn cancelled() -> ErrorData {
    ErrorData::internal_error("cancelled", None)
}
