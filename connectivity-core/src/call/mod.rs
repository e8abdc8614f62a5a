//! The envelope that layers and transports see.

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

/// One call on its way: whose it is, its arguments, and the context that travels with it.
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
    /// What its work holds as long as it runs.
    permits: Permits,
}

impl Call {
    /// Makes a call of a raw service: bytes that mean something to that service alone.
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

    /// Makes a call of a typed method whose arguments are encoded already.
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

    /// A call as a listener has received it.
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

    /// Replaces what travels with the call.
    #[must_use]
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// States which method of a contract known here the call is for.
    #[cfg(feature = "router")]
    #[must_use]
    pub(crate) fn with_method(mut self, method: &'static MethodDesc) -> Self {
        self.method = Some(method);
        self
    }

    /// Names what is called: `billing.charge`, or a raw service.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The same, to keep.
    #[cfg(feature = "router")]
    pub(crate) fn full_name(&self) -> &Name {
        &self.name
    }

    /// Describes the method, where its contract is known in this program.
    #[must_use]
    pub fn method(&self) -> Option<&'static MethodDesc> {
        self.method
    }

    /// States by which route the call goes.
    #[cfg(feature = "router")]
    pub(crate) fn set_route(&mut self, route: Arc<RouteTag>) {
        self.route = Some(route);
    }

    /// The same as [`route`](Self::route), to keep.
    #[cfg(feature = "router")]
    pub(crate) fn shared_route(&self) -> Option<Arc<RouteTag>> {
        self.route.clone()
    }

    /// Says by which route the call goes, for layers. `None` where no router has seen the call yet,
    /// and for a call from outside that nothing exposed here answers.
    #[must_use]
    pub fn route(&self) -> Option<&RouteTag> {
        self.route.as_deref()
    }

    /// Says whether the method's author allows a call to be repeated. A raw service never does.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.method.is_some_and(MethodDesc::is_idempotent)
    }

    /// Returns whether the work of the method goes on when nobody waits for it any more.
    #[cfg(feature = "router")]
    pub(crate) fn is_no_cancel(&self) -> bool {
        self.method.is_some_and(MethodDesc::is_no_cancel)
    }

    /// Gives the call something to hold until its work has ended, be it after its caller has gone.
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

    /// Shows what travels with the call.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Changes what travels with the call.
    pub fn context_mut(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Shows the arguments.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Takes the call apart for a transport: the arguments in the wanted codec. A raw body stays as
    /// it is, and so do arguments in the other codec when the method is not known here; what
    /// bincode cannot carry is JSON. The answer says which codec it is.
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

    /// Takes the name and the arguments.
    pub(crate) fn into_body(self) -> (Name, Body) {
        (self.name, self.body)
    }

    /// The same call once more, for a layer that may have to repeat it. Nothing is encoded or
    /// copied: of a value, the first that takes it gets it. Permits are shared: whichever attempt
    /// runs, its work counts.
    #[cfg(feature = "router")]
    pub(crate) fn fork(&self) -> Self {
        let Self { name, method, body, context, route, permits } = self;
        let (name, context, route, permits) =
            (name.clone(), context.clone(), route.clone(), permits.clone());
        Self { name, method: *method, body: body.fork(), context, route, permits }
    }

    /// Says whether the arguments are gone: an implementation has taken the value, and no fork of
    /// the call can be sent any more.
    #[cfg(feature = "router")]
    pub(crate) fn is_spent(&self) -> bool {
        self.body.is_spent()
    }

    /// Takes the bytes for a raw service, whatever codec they are said to be in.
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

    /// Makes an error about this call; `sent` is what the kind implies.
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

/// Says that arguments could not be encoded.
pub(crate) fn arguments_failed(name: &str, cause: &CodecError) -> Error {
    not_encoded(name, "an argument", "", cause);
    Error::new(ErrorKind::Encode, name, cause.of_arguments())
}

/// Logs what a type says where it refuses to be serialized. It may quote the value, so it stays in
/// this process.
fn not_encoded(name: &str, what: &str, shown: &str, cause: &CodecError) {
    if let Some(private) = cause.private_cause() {
        tracing::error!(name = %name, cause = %shown, "{what} cannot be serialized: {private}");
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
