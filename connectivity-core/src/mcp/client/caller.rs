//! Client of one route: sends its calls as tool calls.

use std::sync::Arc;

use rmcp::model::{CallToolRequestParams, JsonObject, RequestMetaObject};
use serde_json::Value;

use super::answer::{self, Forms};
use super::dial::McpDial;
use super::http;
use super::session::{Session, ToolOutcome};
use crate::call::{Call, CallService, Reply};
use crate::codec::{self, Codec};
use crate::context::timed_out;
use crate::error::{Error, ErrorKind, Sent};
use crate::mcp::protocol::{TIMEOUT_MS, TRACE_PARENT};
use crate::routes::{Route, RouteError};
use crate::transport::link::{DialError, Link};
use crate::transport::remote_name::RemoteName;
use crate::transport::{BuildContext, Remote};

/// Maximum attempts of a call whose sessions end before it is sent.
const MAX_ATTEMPTS: usize = 4;

/// Reason to retry a call on another session.
const SESSION_FORGOTTEN: &str = "the server has forgotten the session";

const TOOL_NAME_MISSING: &str = "a raw service needs the name of its tool: set tool_name";
const TOOL_NAME_FOR_SERVICE: &str = "it names one tool, and the row is for all methods of a service: give each method that has another tool a row";

/// Checks the `tool_name` of a row: a row for a raw service needs one, a row for all methods of a
/// service must not have one.
pub(super) fn check(route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
    RemoteName::check(route, context)?;
    let is_service_row =
        context.contract().is_some_and(|contract| contract.method(route.name().as_str()).is_none());
    match route.config().tool_name.as_deref() {
        None if context.is_raw() => Err(RouteError::config("tool_name", TOOL_NAME_MISSING)),
        Some(_) if is_service_row => Err(RouteError::config("tool_name", TOOL_NAME_FOR_SERVICE)),
        _ => Ok(()),
    }
}

/// Sends the calls of one route over a link that other routes may share.
pub(super) struct McpRemote {
    link: Arc<Link<McpDial>>,
    name: RemoteName,
    row_name: String,
    tool_name: Option<String>,
    forms: Forms,
    max_request: usize,
    max_reply: usize,
}

impl McpRemote {
    /// Builds the remote of a route from the link to its endpoint.
    pub(super) fn remote(route: &Route, link: Arc<Link<McpDial>>) -> Remote {
        let config = route.config();
        let caller = Arc::new(Self {
            link,
            name: RemoteName::of(route),
            row_name: route.name().to_string(),
            tool_name: config.tool_name.clone(),
            forms: Forms::default(),
            max_request: config.max_request_bytes,
            max_reply: config.max_reply_bytes,
        });
        let state = Arc::clone(&caller);
        let service = CallService::from_fn(move |call| Arc::clone(&caller).send(call));
        Remote::new(service).with_codec(Codec::Json).with_state(move || state.link.state())
    }

    async fn send(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let mut request = CallToolRequestParams::new(self.tool_of(&call)?);
        request.arguments = self.arguments(&call)?;
        let (mut reason, mut checked) = (String::new(), false);
        for _ in 0..MAX_ATTEMPTS {
            let session = self.session(&call).await?;
            request.meta = meta(&call);
            let mut outcome = session.call(request.clone(), call.context().deadline()).await;
            if let ToolOutcome::SessionUnknown(refusal) = outcome {
                let forgotten = !checked && self.session_forgotten(&call).await;
                checked = true;
                outcome = if forgotten {
                    ToolOutcome::NotSent(SESSION_FORGOTTEN.to_owned())
                } else {
                    *refusal
                };
            }
            match self.next_step(&call, &session, outcome) {
                Next::Done(end) => return end,
                Next::Retry(cause) => reason = cause,
            }
        }
        Err(call.failed(ErrorKind::Closed, reason).with_sent(Sent::No))
    }

    /// Returns the session, waiting until the deadline of the call at most. Nothing was sent if the
    /// deadline passes first.
    async fn session(&self, call: &Call) -> Result<Arc<Session>, Error> {
        let session = match call.context().deadline() {
            Some(deadline) => tokio::time::timeout_at(deadline, self.link.connection()).await,
            None => Ok(self.link.connection().await),
        };
        let not_sent =
            |cause: DialError| call.failed(cause.kind, cause.message).with_sent(Sent::No);
        session.map_err(|_elapsed| timed_out(call.name()).with_sent(Sent::No))?.map_err(not_sent)
    }

    /// Returns whether a refusal that may mean an unknown session did mean that. The server has
    /// already refused a ping on the old session in the same way; if it answers a ping on a new
    /// session, it has forgotten the old one and the request did not run.
    async fn session_forgotten(&self, call: &Call) -> bool {
        match self.session(call).await {
            Ok(session) => session.answers_ping().await,
            Err(_) => false,
        }
    }

    /// Maps the outcome of an attempt to the next step. A call that was not sent is retried on the
    /// next session. A call that may have run is left to the retry setting of the row.
    fn next_step(&self, call: &Call, session: &Session, outcome: ToolOutcome) -> Next {
        let failed = |kind, message: &str| call.failed(kind, message).with_sent(Sent::Maybe);
        Next::Done(match outcome {
            ToolOutcome::NotSent(cause) => return Next::Retry(cause),
            ToolOutcome::DeadlineBeforeSend => Err(timed_out(call.name()).with_sent(Sent::No)),
            ToolOutcome::DeadlineAfterSend => Err(timed_out(call.name())),
            ToolOutcome::SessionUnknown(refusal) => return self.next_step(call, session, *refusal),
            ToolOutcome::Result(result) => {
                self.record_reply();
                self.forms.decode(call, result, self.max_reply, session.is_own_server())
            }
            ToolOutcome::Refused(error) => {
                self.record_reply();
                Err(answer::map_rpc_error(call, &error, session.is_own_server()))
            }
            ToolOutcome::Unexpected(problem) => {
                Err(failed(ErrorKind::Remote, &format!("the answer {problem}")))
            }
            ToolOutcome::Failed(cause, known_sent) => {
                let (kind, message, sent) = http::map_failure(cause.error.as_ref());
                Err(self.record_failure(call, (kind, message, known_sent.unwrap_or(sent))))
            }
            ToolOutcome::SessionLost(cause) => Err(failed(cause.kind, &cause.text)),
            ToolOutcome::ResponseIncomplete => {
                Err(failed(ErrorKind::Closed, "the response ended without an answer"))
            }
        })
    }

    /// Records that the server replied. Over HTTP a request may have failed since the session began
    /// while the session stayed open; this clears that failure.
    fn record_reply(&self) {
        let _ = self.link.record_outcome(Ok(()));
        self.link.record_reply();
    }

    /// Records a request that failed without ending the session, and returns its error. Over HTTP
    /// each request has a connection of its own.
    fn record_failure(
        &self,
        call: &Call,
        (kind, message, sent): (ErrorKind, String, Sent),
    ) -> Error {
        if matches!(kind, ErrorKind::Connect | ErrorKind::Closed) {
            let _ = self
                .link
                .record_outcome::<()>(Err(DialError { kind, ..DialError::connect(&message) }));
        }
        call.failed(kind, message).with_sent(sent)
    }

    /// Returns the tool to call.
    fn tool_of(&self, call: &Call) -> Result<String, Error> {
        let invalid = |problem| {
            call.failed(ErrorKind::RouteInvalid, format_args!("config.tool_name: {problem}"))
        };
        match (&self.tool_name, call.method()) {
            (Some(tool), Some(_)) if call.name() == self.row_name => Ok(tool.clone()),
            (Some(_), Some(_)) => Err(invalid(TOOL_NAME_FOR_SERVICE)),
            (Some(tool), None) => Ok(tool.clone()),
            (None, Some(_)) => Ok(self.name.of_call(call)?.to_string()),
            (None, None) => Err(invalid(TOOL_NAME_MISSING)),
        }
    }

    /// Encodes the arguments of a call: those of a method by name, or the payload of a raw service,
    /// which is an object or empty.
    fn arguments(&self, call: &Call) -> Result<Option<JsonObject>, Error> {
        let (_, bytes) = call.encode(Codec::Json)?;
        if bytes.len() > self.max_request {
            let message = format_args!(
                "the request has {} bytes, the route allows {}",
                bytes.len(),
                self.max_request
            );
            return Err(call.failed(ErrorKind::TooLarge, message).with_sent(Sent::No));
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        codec::value::check(&bytes).map_err(|cause| {
            call.failed(ErrorKind::Encode, format_args!("the arguments: {cause}"))
        })?;
        let arguments = serde_json::from_slice(&bytes);
        arguments.map(Some).map_err(|_cause| {
            call.failed(
                ErrorKind::Encode,
                "the arguments of a tool are a JSON object, and these are none",
            )
            .with_sent(Sent::No)
        })
    }
}

/// Next step after an attempt.
enum Next {
    Done(Result<Reply, Error>),
    Retry(String),
}

/// Returns the `_meta` of a call: its remaining time and its trace context.
fn meta(call: &Call) -> Option<RequestMetaObject> {
    let context = call.context();
    let mut meta = RequestMetaObject::new();
    if let Some(left) = context.remaining() {
        // At least 1: 0 would mean no time at all.
        let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        meta.0.0.insert(TIMEOUT_MS.to_owned(), Value::from(ms));
    }
    if let Some(trace_parent) = context.trace_parent() {
        meta.0.0.insert(TRACE_PARENT.to_owned(), Value::from(trace_parent));
    }
    (!meta.0.0.is_empty()).then_some(meta)
}
