//! The code that is generic over a method: builds its description and its shape, and converts
//! arguments and replies to and from calls.
//!
//! The modules below this one know a method only by its [`MethodDesc`].

#[cfg(feature = "router")]
use std::any::Any;
use std::fmt;

use serde::de::DeserializeOwned;

use super::{Args, Arguments, ErrorForm, Method, MethodOutput, ServiceError, Wire};
use crate::call::{Body, Call, MethodDesc, MethodTypes, Reply, Untaken};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::shape::{MethodShape, Shape};

impl MethodDesc {
    /// For generated code: describes the method `M`.
    #[doc(hidden)]
    #[must_use]
    pub const fn of<M: Method>(
        index: usize,
        service: &'static str,
        name: &'static str,
        full_name: &'static str,
        arguments: &'static [&'static str],
    ) -> Self {
        let types = MethodTypes {
            #[cfg(feature = "router")]
            noop: noop::<M>,
            shape: shape::<M>,
            transcode: Args::<M, <M::Args as Arguments>::Form>::transcode,
            #[cfg(feature = "mcp")]
            is_error: |json| (M::error_form().is_error)(json),
        };
        Self::new(index, service, name, full_name, arguments, types)
    }
}

impl<E: 'static> ErrorForm<E> {
    /// For generated code: describes how the error of the method `M` travels. The compiler infers
    /// the kind `K` of the error type.
    #[must_use]
    pub const fn of<M: Method<Err = E>, K>() -> Self
    where
        E: ServiceError<K>,
    {
        Self {
            shape: Shape::of_both::<E::Form>,
            #[cfg(feature = "mcp")]
            is_error: |json| Codec::Json.decode::<E::Form>(json).is_ok(),
            into_body: |error| {
                Body::explained(error.into_form(), |form| E::of_form(form).and_then(M::explain))
            },
            from_reply: |name, body, drift| take(name, body, drift).map(E::from_form),
            from_error: E::from_error,
        }
    }
}

fn shape<M: Method>(codec: Codec) -> MethodShape {
    let arguments = Shape::of_both::<Args<M, <M::Args as Arguments>::Form>>(codec);
    let ok = Shape::of_both::<<M::Ok as Wire>::Form>(codec);
    let err = (M::error_form().shape)(codec);
    MethodShape::new(M::DESC.name(), [arguments, ok, err])
}

/// Returns the reply of a `noop` route: the method's `#[noop = ..]` value, or `()` for a method
/// that returns `()`.
#[cfg(feature = "router")]
fn noop<M: Method>() -> Option<Reply> {
    M::noop()
        .map(Wire::into_form)
        .or_else(unit)
        .map(|value| Reply::typed(Body::typed(value), false))
}

/// Returns `Some(())` if `T` is `()`.
#[cfg(feature = "router")]
fn unit<T: 'static>() -> Option<T> {
    let mut unit = Some(());
    (&mut unit as &mut dyn Any).downcast_mut::<Option<T>>()?.take()
}

impl Call {
    /// For generated code: takes the arguments of the method `M`.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode), [`Contract`](ErrorKind::Contract), or
    /// [`Encode`](ErrorKind::Encode) if an earlier attempt has taken them. All have `sent` `No`,
    /// because nothing ran.
    #[doc(hidden)]
    pub fn into_args<M: Method>(self) -> Result<<M::Args as Arguments>::Owned, Error> {
        let (name, body) = self.into_body();
        let fail = |kind, cause| Error::new(kind, &name, cause).with_sent(Sent::No);
        let arguments: Result<Args<M, <M::Args as Arguments>::Form>, Error> = match body {
            Body::Typed(payload) => payload.take().map_err(|reason| match reason {
                Untaken::OtherType => fail(
                    ErrorKind::Contract,
                    "two contracts of this name are linked into one program".into(),
                ),
                Untaken::Spent => fail(
                    ErrorKind::Encode,
                    "the arguments: an earlier attempt has taken them".into(),
                ),
            }),
            Body::Encoded(codec, bytes) => {
                codec.decode(&bytes).map_err(|cause| fail(ErrorKind::Decode, cause.of_arguments()))
            }
            Body::Raw(_) => Err(fail(
                ErrorKind::Decode,
                "a typed method takes JSON or bincode, not raw bytes".into(),
            )),
        };
        arguments.map(|arguments| M::Args::from_form(arguments.into_inner()))
    }
}

impl Reply {
    /// For generated code: creates the reply of the method `M`.
    #[doc(hidden)]
    pub fn of<M: Method>(output: M::Output) -> Self {
        match output.into_result() {
            Ok(value) => Self::typed(Body::typed(value.into_form()), false),
            Err(error) => Self::typed((M::error_form().into_body)(error), true),
        }
    }

    /// Converts a reply or an error to the output of the method `M`.
    pub(crate) fn into_output<M: Method>(reply: Result<Self, Error>) -> M::Output {
        let name = M::DESC.full_name();
        let value = match reply.map(Self::into_parts) {
            Ok((body, false, drift)) => {
                take(name, body, drift).map(|value| Ok(M::Ok::from_form(value)))
            }
            Ok((body, true, drift)) => (M::error_form().from_reply)(name, body, drift).map(Err),
            Err(error) => Err(error),
        };
        M::Output::from_result(
            value.unwrap_or_else(|error| Err((M::error_form().from_error)(error))),
        )
    }
}

fn take<T: DeserializeOwned + 'static>(
    name: &'static str,
    body: Body,
    drift: Option<String>,
) -> Result<T, Error> {
    let fail = |kind, cause: &dyn fmt::Display| {
        Error::new(kind, name, format!("the reply: {cause}")).with_sent(Sent::Yes)
    };
    match body {
        Body::Typed(payload) => payload.take().map_err(|reason| match reason {
            Untaken::OtherType => fail(ErrorKind::Contract, &"a value of another type"),
            Untaken::Spent => fail(ErrorKind::Encode, &"its value was taken already"),
        }),
        Body::Encoded(codec, bytes) => codec.decode(&bytes).map_err(|cause| match drift {
            Some(drift) => fail(ErrorKind::Contract, &format_args!("{cause}; {drift}")),
            None => fail(ErrorKind::Decode, &cause),
        }),
        Body::Raw(_) => {
            Err(fail(ErrorKind::Decode, &"raw bytes, where JSON or bincode was expected"))
        }
    }
}
