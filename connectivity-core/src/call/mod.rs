//! Calls and replies, as layers and transports see them.

mod body;
mod desc;
mod held;
mod reply;
mod route;
mod service;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{Codec, CodecError};
use crate::context::{self, Context};
use crate::error::{Error, ErrorKind};
use crate::name::Name;

pub use body::{Body, Payload};
pub use desc::{MethodDesc, ServiceDesc};
pub use reply::Reply;
pub use route::RouteTag;
pub use service::{BoxFuture, CallService};

pub(crate) use body::Untaken;
pub(crate) use desc::{MAX_METHODS, MethodTypes};
pub(crate) use held::Permits;
#[cfg(feature = "router")]
pub(crate) use held::{Admission, Admits, Held};
#[cfg(feature = "router")]
pub(crate) use service::Erased;

/// One call: the name of its method or service, its arguments, and its context.
///
/// ```
/// use connectivity_core::{Call, Codec, Name};
///
/// let call = Call::encoded(Name::parse("billing.quote")?, Codec::Json, r#"{"order":"17"}"#);
/// assert_eq!(call.name(), "billing.quote");
/// # Ok::<(), connectivity_core::NameError>(())
/// ```
pub struct Call {
    name: Name,
    method: Option<&'static MethodDesc>,
    body: Body,
    context: Context,
    route: Option<Arc<RouteTag>>,
    /// The permits held while the work of the call runs.
    permits: Permits,
}

impl Call {
    /// Creates a call of a raw service with opaque bytes.
    ///
    /// The context of the call is the [current](context::current) one.
    #[must_use]
    pub fn raw(name: Name, bytes: impl Into<Bytes>) -> Self {
        Self {
            name,
            method: None,
            body: Body::Raw(bytes.into()),
            context: context::current(),
            route: None,
            permits: Permits::default(),
        }
    }

    /// Creates a call of a typed method whose arguments are encoded already.
    ///
    /// The context of the call is the [current](context::current) one.
    #[must_use]
    pub fn encoded(name: Name, codec: Codec, bytes: impl Into<Bytes>) -> Self {
        Self {
            name,
            method: None,
            body: Body::Encoded(codec, bytes.into()),
            context: context::current(),
            route: None,
            permits: Permits::default(),
        }
    }

    /// Creates a call that a listener has received.
    #[cfg(feature = "wire")]
    pub(crate) fn received(name: Name, body: Body, context: Context) -> Self {
        Self { name, method: None, body, context, route: None, permits: Permits::default() }
    }

    pub(crate) fn of(method: &'static MethodDesc, body: Body) -> Self {
        let name = Name::from_static(method.full_name());
        Self {
            name,
            method: Some(method),
            body,
            context: context::current(),
            route: None,
            permits: Permits::default(),
        }
    }

    /// Replaces the context of the call.
    #[must_use]
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Sets the description of the called method.
    #[cfg(feature = "router")]
    #[must_use]
    pub(crate) fn with_method(mut self, method: &'static MethodDesc) -> Self {
        self.method = Some(method);
        self
    }

    /// Returns the full name of the called method, such as `billing.charge`, or of the raw service.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns the name as a [`Name`].
    #[cfg(feature = "router")]
    pub(crate) fn full_name(&self) -> &Name {
        &self.name
    }

    /// Returns the description of the method, if this program has its contract.
    #[must_use]
    pub fn method(&self) -> Option<&'static MethodDesc> {
        self.method
    }

    /// Sets the tag of the route that the call takes.
    #[cfg(feature = "router")]
    pub(crate) fn set_route(&mut self, route: Arc<RouteTag>) {
        self.route = Some(route);
    }

    /// Like [`route`](Self::route), with shared ownership.
    #[cfg(feature = "router")]
    pub(crate) fn shared_route(&self) -> Option<Arc<RouteTag>> {
        self.route.clone()
    }

    /// Returns the tag of the route that the call takes, for layers. `None` if no router has seen
    /// the call yet, and for an inbound call of a service that is not exposed here.
    #[must_use]
    pub fn route(&self) -> Option<&RouteTag> {
        self.route.as_deref()
    }

    /// Returns whether the contract allows the call to be repeated. Always false for a raw service.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.method.is_some_and(MethodDesc::is_idempotent)
    }

    /// Returns whether the work of the method continues after the caller has dropped the call.
    #[cfg(feature = "router")]
    pub(crate) fn is_no_cancel(&self) -> bool {
        self.method.is_some_and(MethodDesc::is_no_cancel)
    }

    /// Attaches a permit that is held until the work of the call has ended, even if the caller
    /// drops the call earlier.
    #[cfg(feature = "router")]
    pub(crate) fn hold(&mut self, permit: Arc<dyn Send + Sync>) {
        self.permits.push(permit);
    }

    /// Counts the call as in flight until its work has ended.
    #[cfg(feature = "router")]
    pub(crate) fn admit(&mut self, admission: Admission) {
        self.permits.admit(admission);
    }

    pub(crate) fn take_permits(&mut self) -> Permits {
        std::mem::take(&mut self.permits)
    }

    /// Returns the context of the call.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Returns the context of the call for changes.
    pub fn context_mut(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Returns the arguments.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Encodes the arguments in `codec` for a transport, and returns them with their actual codec,
    /// `None` for raw bytes. A raw body stays as it is, and so do arguments in another codec if
    /// this program does not know the method. Falls back to JSON if bincode cannot encode the
    /// arguments.
    ///
    /// # Errors
    /// [`Encode`](ErrorKind::Encode), with `sent` `No`.
    pub fn encode(&self, codec: Codec) -> Result<(Option<Codec>, Bytes), Error> {
        let encoded = match (&self.body, self.method) {
            (Body::Encoded(other, bytes), Some(method)) if *other != codec => {
                method.transcode(bytes, *other, codec).map(|(codec, bytes)| (Some(codec), bytes))
            }
            (body, _) => body.encode(codec, self.name()),
        };
        encoded.map_err(|cause| arguments_failed(self.name(), &cause))
    }

    /// Returns the name and the arguments.
    pub(crate) fn into_body(self) -> (Name, Body) {
        (self.name, self.body)
    }

    /// Returns the same call once more, for a layer that may have to repeat it. Nothing is encoded
    /// or copied: a value goes to the first fork that takes it. Forks share their permits, so the
    /// work of every attempt counts as in flight.
    #[cfg(feature = "router")]
    pub(crate) fn fork(&self) -> Self {
        let Self { name, method, body, context, route, permits } = self;
        let (name, context, route, permits) =
            (name.clone(), context.clone(), route.clone(), permits.clone());
        Self { name, method: *method, body: body.fork(), context, route, permits }
    }

    /// Returns whether an implementation has taken the arguments. No fork of the call can be sent
    /// then.
    #[cfg(feature = "router")]
    pub(crate) fn is_spent(&self) -> bool {
        self.body.is_spent()
    }

    /// Returns the bytes for a raw service, whatever their codec.
    #[cfg(feature = "router")]
    pub(crate) fn into_bytes(self) -> Result<Bytes, Error> {
        match self.body {
            Body::Raw(bytes) | Body::Encoded(_, bytes) => Ok(bytes),
            Body::Typed(_) => Err(self.failed(
                ErrorKind::Contract,
                "a raw service of this name stands in for a typed one",
            )),
        }
    }

    /// Creates an error of this call. Its `sent` is the default of the kind.
    #[must_use]
    pub fn failed(&self, kind: ErrorKind, cause: impl fmt::Display) -> Error {
        Error::new(kind, &self.name, cause.to_string())
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("name", &self.name)
            .field("body", &self.body)
            .field("context", &self.context)
            .field("route", &self.route)
            .finish()
    }
}

/// Returns the error of arguments that could not be encoded.
pub(crate) fn arguments_failed(name: &str, cause: &CodecError) -> Error {
    log_private_cause(name, "an argument", "", cause);
    Error::new(ErrorKind::Encode, name, cause.of_arguments())
}

/// Logs the message of a type that refuses to be serialized. It may quote the value, so it must not
/// leave this process.
fn log_private_cause(name: &str, subject: &str, description: &str, cause: &CodecError) {
    if let Some(private) = cause.private_cause() {
        tracing::error!(name = %name, cause = %description, "{subject} cannot be serialized: {private}");
    }
}

#[cfg(all(test, feature = "router"))]
mod tests {
    use super::*;
    use crate::error::Sent;

    fn take(call: Call) -> Result<String, Untaken> {
        match call.body {
            Body::Typed(payload) => payload.take(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_value_is_taken_by_one_fork_of_a_call_and_encoded_by_any_before() {
        let call = Call::raw(Name::from_static("billing"), "");
        let call = Call { body: Body::typed("17".to_owned()), ..call };
        let (first, second) = (call.fork(), call.fork());
        for _ in 0..2 {
            assert_eq!(
                first.encode(Codec::Json).unwrap(),
                (Some(Codec::Json), Bytes::from_static(b"\"17\""))
            );
        }
        assert!(!second.is_spent());
        assert_eq!(take(first), Ok("17".to_owned()));
        assert!(second.is_spent());
        let error = second.encode(Codec::Json).unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Encode, Sent::No));
        assert_eq!(take(second), Err(Untaken::Spent), "and not: another type");
    }

    #[test]
    fn bytes_are_forked_by_reference_and_never_spent() {
        let bytes = Bytes::from(vec![7; 1 << 20]);
        let call = Call::raw(Name::from_static("echo"), bytes.clone());
        let fork = call.fork();
        assert_eq!(call.into_bytes().unwrap().as_ptr(), bytes.as_ptr());
        assert!(!fork.is_spent());
        assert_eq!(fork.into_bytes().unwrap().as_ptr(), bytes.as_ptr());
    }
}
