//! The far end of one route: its calls as calls of tools.

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

/// How often a call looks for another session after one ended before the call was sent.
const SESSIONS: usize = 4;

/// Why a call goes on another session.
const FORGOTTEN: &str = "the server has forgotten the session";

const NO_TOOL: &str = "a raw service needs the name of its tool: set tool_name";
const ONE_TOOL: &str = "it names one tool, and the row is for all methods of a service: give each method that has another tool a row";

/// Checks a row against what is known of its calls: those of a raw service need a `tool_name`,
/// those of a service have none in common.
pub(super) fn check(route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
    RemoteName::check(route, context)?;
    let of_service =
        context.contract().is_some_and(|contract| contract.method(route.name().as_str()).is_none());
    match route.config().tool_name() {
        None if context.is_raw() => Err(RouteError::config("tool_name", NO_TOOL)),
        Some(_) if of_service => Err(RouteError::config("tool_name", ONE_TOOL)),
        _ => Ok(()),
    }
}

/// Sends the calls of one route over a link that other routes may share.
pub(super) struct McpRemote {
    link: Arc<Link<McpDial>>,
    name: RemoteName,
    row: String,
    tool: Option<String>,
    forms: Forms,
    max_request: usize,
    max_reply: usize,
}

impl McpRemote {
    /// Makes a remote of a route and the link to its endpoint.
    pub(super) fn remote(route: &Route, link: Arc<Link<McpDial>>) -> Remote {
        let config = route.config();
        let caller = Arc::new(Self {
            link,
            name: RemoteName::of(route),
            row: route.name().to_string(),
            tool: config.tool_name().map(str::to_owned),
            forms: Forms::default(),
            max_request: config.max_request_bytes(),
            max_reply: config.max_reply_bytes(),
        });
        let state = Arc::clone(&caller);
        let service = CallService::from_fn(move |call| Arc::clone(&caller).send(call));
        Remote::new(service).with_codec(Codec::Json).with_state(move || state.link.state())
    }

    async fn send(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let mut request = CallToolRequestParams::new(self.tool(&call)?);
        request.arguments = self.arguments(&call)?;
        let (mut why, mut was_forgotten) = (String::new(), false);
        for _ in 0..SESSIONS {
            let session = self.session(&call).await?;
            request.meta = meta(&call);
            let mut outcome = session.call(request.clone(), call.context().deadline()).await;
            if let ToolOutcome::Unknown(refusal) = outcome {
                let is_forgotten = !was_forgotten && self.is_forgotten(&call).await;
                was_forgotten = true;
                outcome = if is_forgotten {
                    ToolOutcome::NotSent(FORGOTTEN.to_owned())
                } else {
                    *refusal
                };
            }
            match self.next(&call, &session, outcome) {
                Next::Done(end) => return end,
                Next::Again(because) => why = because,
            }
        }
        Err(call.failed(ErrorKind::Closed, why).with_sent(Sent::No))
    }

    /// Gets the session within the deadline of a call: nothing was sent when that ends first.
    async fn session(&self, call: &Call) -> Result<Arc<Session>, Error> {
        let session = match call.context().deadline() {
            Some(deadline) => tokio::time::timeout_at(deadline, self.link.connection()).await,
            None => Ok(self.link.connection().await),
        };
        let not_sent =
            |cause: DialError| call.failed(cause.kind, cause.message).with_sent(Sent::No);
        session.map_err(|_elapsed| timed_out(call.name()).with_sent(Sent::No))?.map_err(not_sent)
    }

    /// Returns whether a refusal, in words that a server also has for a session that it does not
    /// know, was for that: a ping, which it has refused so on the old session, it answers on a new
    /// one. Then the request did not run.
    async fn is_forgotten(&self, call: &Call) -> bool {
        match self.session(call).await {
            Ok(session) => session.is_known().await,
            Err(_) => false,
        }
    }

    /// What comes after an attempt: one that was not sent goes on the next session. One that may
    /// have run is the row's to retry.
    fn next(&self, call: &Call, session: &Session, outcome: ToolOutcome) -> Next {
        let failed = |kind, message: &str| call.failed(kind, message).with_sent(Sent::Maybe);
        Next::Done(match outcome {
            ToolOutcome::NotSent(because) => return Next::Again(because),
            ToolOutcome::NoTime => Err(timed_out(call.name()).with_sent(Sent::No)),
            ToolOutcome::OutOfTime => Err(timed_out(call.name())),
            ToolOutcome::Unknown(refusal) => return self.next(call, session, *refusal),
            ToolOutcome::Result(result) => {
                self.reached();
                self.forms.read(call, result, self.max_reply, session.is_ours())
            }
            ToolOutcome::Refused(error) => {
                self.reached();
                Err(answer::refused_by(call, &error, session.is_ours()))
            }
            ToolOutcome::Odd(what) => Err(failed(ErrorKind::Remote, &format!("the answer {what}"))),
            ToolOutcome::Failed(cause, told) => {
                let (kind, message, sent) = http::failure(cause.error.as_ref());
                Err(self.failed(call, (kind, message, told.unwrap_or(sent))))
            }
            ToolOutcome::Lost(cause) => Err(failed(cause.kind, &cause.text)),
            ToolOutcome::BrokenOff => {
                Err(failed(ErrorKind::Closed, "the response ended without an answer"))
            }
        })
    }

    /// Over HTTP a request may have failed since the session began, and the session lives on.
    fn reached(&self) {
        let _ = self.link.noted(Ok(()));
        self.link.answered();
    }

    /// A request that failed without ending the session: over HTTP each has a connection of its
    /// own.
    fn failed(&self, call: &Call, (kind, message, sent): (ErrorKind, String, Sent)) -> Error {
        if matches!(kind, ErrorKind::Connect | ErrorKind::Closed) {
            let _ = self.link.noted::<()>(Err(DialError { kind, ..DialError::connect(&message) }));
        }
        call.failed(kind, message).with_sent(sent)
    }

    /// The tool that a call is for.
    fn tool(&self, call: &Call) -> Result<String, Error> {
        let wrong =
            |what| call.failed(ErrorKind::RouteInvalid, format_args!("config.tool_name: {what}"));
        match (&self.tool, call.method()) {
            (Some(tool), Some(_)) if call.name() == self.row => Ok(tool.clone()),
            (Some(_), Some(_)) => Err(wrong(ONE_TOOL)),
            (Some(tool), None) => Ok(tool.clone()),
            (None, Some(_)) => Ok(self.name.of_call(call)?.to_string()),
            (None, None) => Err(wrong(NO_TOOL)),
        }
    }

    /// The arguments of a call: those of a method by name, or the payload of a raw service, which
    /// is an object or empty.
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

/// What comes after an attempt.
enum Next {
    Done(Result<Reply, Error>),
    Again(String),
}

/// What goes along with a call.
fn meta(call: &Call) -> Option<RequestMetaObject> {
    let context = call.context();
    let mut meta = RequestMetaObject::new();
    if let Some(left) = context.remaining() {
        // Never 0, which would be no time at all.
        let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        meta.0.0.insert(TIMEOUT_MS.to_owned(), Value::from(ms));
    }
    if let Some(trace_parent) = context.trace_parent() {
        meta.0.0.insert(TRACE_PARENT.to_owned(), Value::from(trace_parent));
    }
    (!meta.0.0.is_empty()).then_some(meta)
}
