//! The far end of one route: its calls as calls of tools.

use std::sync::Arc;

use rmcp::model::{CallToolRequestParams, JsonObject, RequestMetaObject};
use serde_json::Value;

use super::answer::{self, Forms};
use super::dial::McpDial;
use super::http;
use super::session::Outcome;
use crate::call::{Call, CallService, Reply};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::mcp::{TIMEOUT_MS, TRACE_PARENT};
use crate::routes::Route;
use crate::transport::Remote;
use crate::transport::link::{DialError, Link};
use crate::transport::remote_name::RemoteName;

/// How often a call looks for another session after one ended before the call was sent.
const SESSIONS: usize = 4;

/// Sends the calls of one route over a link that other routes may share.
pub(super) struct Caller {
    link: Arc<Link<McpDial>>,
    name: RemoteName,
    row: String,
    tool: Option<String>,
    forms: Forms,
    max_request: usize,
    max_reply: usize,
}

impl Caller {
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
        let (mut lost, mut why) = (false, String::new());
        for _ in 0..SESSIONS {
            // A repeated call that finds nobody has still been sent once.
            let sent = if lost { Sent::Maybe } else { Sent::No };
            let session = self.link.connection().await;
            let session = session.map_err(|cause| call.failed(cause.kind, cause.message).with_sent(sent))?;
            request.meta = meta(&call);
            match session.call(request.clone()).await {
                Outcome::Result(result) => {
                    self.reached();
                    return self.forms.read(&call, result, self.max_reply);
                }
                Outcome::Refused(error) => {
                    self.reached();
                    return Err(answer::not_run(&call, &error));
                }
                Outcome::Odd(what) => {
                    let message = format_args!("the answer {what}");
                    return Err(call.failed(ErrorKind::Remote, message).with_sent(Sent::Maybe));
                }
                Outcome::Failed(cause) => return Err(self.failed(&call, http::failure(cause.error.as_ref()))),
                Outcome::NotSent(cause) => why = cause,
                Outcome::Lost(cause) if cause.kind == ErrorKind::Closed && call.is_idempotent() => {
                    (lost, why) = (true, cause.text);
                }
                Outcome::Lost(cause) => return Err(call.failed(cause.kind, cause.text).with_sent(Sent::Maybe)),
                Outcome::BrokenOff => {
                    let message = "the response ended without an answer";
                    return Err(call.failed(ErrorKind::Closed, message).with_sent(Sent::Maybe));
                }
            }
        }
        let sent = if lost { Sent::Maybe } else { Sent::No };
        Err(call.failed(ErrorKind::Closed, why).with_sent(sent))
    }

    /// Over HTTP a request may have failed since the session began, and the session lives on.
    fn reached(&self) {
        let _ = self.link.noted(Ok(()));
    }

    /// A request that failed without ending the session: over HTTP each has a connection of its own.
    fn failed(&self, call: &Call, (kind, message, sent): (ErrorKind, String, Sent)) -> Error {
        if matches!(kind, ErrorKind::Connect | ErrorKind::Closed) {
            let _ = self.link.noted::<()>(Err(DialError { kind, message: message.clone() }));
        }
        call.failed(kind, message).with_sent(sent)
    }

    /// The tool that a call is for.
    fn tool(&self, call: &Call) -> Result<String, Error> {
        let wrong = |what| call.failed(ErrorKind::RouteInvalid, format_args!("config.tool_name: {what}"));
        match (&self.tool, call.method()) {
            (Some(tool), Some(_)) if call.name() == self.row => Ok(tool.clone()),
            (Some(_), Some(_)) => {
                Err(wrong("it names one tool, and the row is for all methods of a service: give the method a row"))
            }
            (Some(tool), None) => Ok(tool.clone()),
            (None, Some(_)) => Ok(self.name.of_call(call)?.to_string()),
            (None, None) => Err(wrong("a raw service needs the name of its tool")),
        }
    }

    /// The arguments of a call: those of a method by name, or the payload of a raw service, which is an object or empty.
    fn arguments(&self, call: &Call) -> Result<Option<JsonObject>, Error> {
        let (_, bytes) = call.encode(Codec::Json)?;
        if bytes.len() > self.max_request {
            let message = format_args!("the request has {} bytes, the route allows {}", bytes.len(), self.max_request);
            return Err(call.failed(ErrorKind::TooLarge, message).with_sent(Sent::No));
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let arguments = serde_json::from_slice(&bytes);
        arguments.map(Some).map_err(|_cause| {
            call.failed(ErrorKind::Encode, "the arguments of a tool are a JSON object, and these are none")
                .with_sent(Sent::No)
        })
    }
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
